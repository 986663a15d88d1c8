// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const (
	images = "../../../docs/images"
	// heaviest is what a picture may weigh.
	heaviest = 150 << 10
)

// shot is a picture of the page.
type shot struct {
	name          string
	width, height int64
	scheme        string
}

var shots = []shot{
	{"web-light.png", 1240, 1190, "light"}, {"web-dark.png", 1240, 1190, "dark"}, {"web-phone.png", 360, 1180, "light"},
}

// pictures takes the pictures of a removal under way, if asked to, and checks
// that those in the documentation are pictures.
func pictures(of **browser) {
	for _, s := range shots {
		It("is seen in docs/images/"+s.name, func() {
			if *updateScreenshots {
				b := *of
				b.look(s.width, s.height, s.scheme)
				b.take(s.name)
				b.look(1280, 900, "light")
			}
			picture(s.name, int(s.width), int(s.height))
		})
	}
}

// take writes what the window shows.
func (b *browser) take(name string) {
	GinkgoHelper()
	eval[bool](b, `scrollTo(0, 0), document.activeElement.blur(), true`)
	raw, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	Expect(err).NotTo(HaveOccurred())
	full, err := png.Decode(bytes.NewReader(raw))
	Expect(err).NotTo(HaveOccurred())
	var small bytes.Buffer
	Expect((&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, lighten(full))).To(Succeed())
	Expect(os.MkdirAll(images, 0o755)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(images, name), small.Bytes(), 0o644)).To(Succeed())
}

// lighten keeps the 256 colours that a picture has most of. The others are
// those of the edges of letters, to which the nearest one comes close enough.
func lighten(of image.Image) image.Image {
	often := map[color.RGBA]int{}
	for x := range of.Bounds().Dx() {
		for y := range of.Bounds().Dy() {
			often[color.RGBAModel.Convert(of.At(x, y)).(color.RGBA)]++
		}
	}
	all := slices.Collect(maps.Keys(often))
	slices.SortFunc(all, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(often[b], often[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	palette := color.Palette{}
	for _, c := range all[:min(256, len(all))] {
		palette = append(palette, c)
	}
	light := image.NewPaletted(of.Bounds(), palette)
	draw.Draw(light, light.Bounds(), of, of.Bounds().Min, draw.Src)
	return light
}

// picture checks one: that it decodes, its size, and that something is in it.
func picture(name string, width, height int) {
	GinkgoHelper()
	raw, err := os.ReadFile(filepath.Join(images, name))
	Expect(err).NotTo(HaveOccurred(), "make screenshots takes it")
	Expect(len(raw)).To(BeNumerically("<", heaviest))
	p, err := png.Decode(bytes.NewReader(raw))
	Expect(err).NotTo(HaveOccurred())
	Expect(fmt.Sprint(p.Bounds().Dx(), "×", p.Bounds().Dy())).To(Equal(fmt.Sprint(width, "×", height)))
	colours := map[any]bool{}
	for x := range width {
		for y := range height {
			colours[p.At(x, y)] = true
		}
	}
	Expect(len(colours)).To(BeNumerically(">", 16), "it is blank")
}
