// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// sgr is how a program colours what it writes on a terminal (ECMA-48, SGR).
var sgr = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// terminals are the pictures of kubectl selvage map, and the colours that a
// terminal of that scheme gives to what programs ask for: 1 is bold, 2 faint,
// 31 red, and so on.
var terminals = []struct {
	shot
	colours string
}{
	{shot{"map-light.png", 960, 696, "light"}, `body{background:#f4f3ef;color:#20262e}main{background:#fff;border-color:#e2e0d8}i{color:#5d6670}` +
		`.c2{color:#6a7380}.c31{color:#b3302b}.c32{color:#2c7347}.c33{color:#8f5a00}.c34{color:#3a6ea5}.c35{color:#84578c}.c36{color:#2b7a75}` +
		`.c94{color:#6159a6}.c95{color:#ad4a63}.c96{color:#5f7428}`},
	{shot{"map-dark.png", 960, 696, "dark"}, `body{background:#12161b;color:#e4e9ef}main{background:#1a2027;border-color:#2b333d}i{color:#9ba7b5}` +
		`.c2{color:#8b97a5}.c31{color:#f28b82}.c32{color:#74c794}.c33{color:#e2b257}.c34{color:#7fb0e3}.c35{color:#c99fd2}.c36{color:#6cc0b8}` +
		`.c94{color:#a9a6ee}.c95{color:#e893a8}.c96{color:#b1c46c}`},
}

const terminalStyle = `*{margin:0;box-sizing:border-box}body{padding:20px}main{border:1px solid;border-radius:12px;padding:16px 22px;height:calc(100vh - 40px);overflow:hidden}` +
	`pre{font:14px/1.32 "DejaVu Sans Mono",monospace;white-space:pre-wrap}i{font-style:normal}.c1{font-weight:700}`

// mapPictures takes the pictures of the map in a terminal, if asked to.
func mapPictures() {
	for _, s := range terminals {
		It("is seen in docs/images/"+s.name, func(ctx SpecContext) {
			if *updateScreenshots {
				page := filepath.Join(GinkgoT().TempDir(), "map.html")
				text := fmt.Sprintf("<!doctype html><meta charset=utf-8><style>%s%s</style><main><pre><i>$ kubectl selvage map</i>\n%s</pre></main>",
					terminalStyle, s.colours, markup(onTerminal(ctx, 100, "map", "--rows", "2")))
				Expect(os.WriteFile(page, []byte(text), 0o600)).To(Succeed())
				b := launch(ctx)
				b.look(s.width, s.height, s.scheme)
				b.do(chromedp.Navigate("file://" + page))
				Expect(eval[bool](b, `document.querySelector('main').scrollHeight <= document.querySelector('main').clientHeight`)).To(BeTrue(), "it is cut off")
				b.take(s.name)
			}
			picture(s.name, int(s.width), int(s.height))
		})
	}
}

// onTerminal is what the program writes on a terminal of that many columns.
func onTerminal(ctx context.Context, columns int, args ...string) string {
	GinkgoHelper()
	script, err := exec.LookPath("script")
	Expect(err).NotTo(HaveOccurred(), "script, of util-linux, makes a terminal")
	cmd := command(ctx)
	cmd.Path, cmd.Args = script, []string{script, "-qefc", "kubectl selvage " + strings.Join(args, " "), "/dev/null"}
	cmd.Env = append(cmd.Env, "TERM=xterm", fmt.Sprint("COLUMNS=", columns))
	out, err := cmd.Output()
	Expect(err).NotTo(HaveOccurred())
	Expect(string(out)).To(MatchRegexp("\x1b\\[[0-9]+m"), "it is coloured")
	return strings.ReplaceAll(string(out), "\r", "")
}

// markup makes spans of colours.
func markup(text string) string {
	var b strings.Builder
	open := false
	for {
		at := sgr.FindStringSubmatchIndex(text)
		if at == nil {
			return b.String() + html.EscapeString(text)
		}
		b.WriteString(html.EscapeString(text[:at[0]]))
		if open {
			b.WriteString("</span>")
		}
		code := text[at[2]:at[3]]
		if open = code != "0" && code != ""; open {
			fmt.Fprintf(&b, `<span class="c%s">`, code)
		}
		text = text[at[1]:]
	}
}
