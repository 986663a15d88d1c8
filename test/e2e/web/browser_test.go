// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const chromium = "chromium"

// browser is a Chromium with a profile of its own, and what it asked for and
// complained about.
type browser struct {
	ctx context.Context

	mu       sync.Mutex
	requests []string
	errors   []string
}

// launch starts a browser that ends with the test, which fails if a page logged
// an error.
func launch(ctx context.Context) *browser {
	GinkgoHelper()
	// Nothing that a browser does for itself: it may reach nobody.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(GinkgoT().TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, end := chromedp.NewExecAllocator(context.WithoutCancel(ctx), options...)
	b := &browser{}
	b.ctx, _ = chromedp.NewContext(ctx, chromedp.WithListener(b.listen)) // chromedp.Cancel ends it, and waits
	DeferCleanup(func() {
		Expect(chromedp.Cancel(b.ctx)).To(Succeed())
		end()
		Expect(b.complaints()).To(BeEmpty(), "the browser's console")
	})
	// Not within a time of its own: the browser would end with that.
	Expect(chromedp.Do(b.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{})
		return err
	}))).To(Succeed())
	return b
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" {
			b.errors = append(b.errors, fmt.Sprint(e.Args))
		}
	}
}

func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.errors
}

// elsewhere lists what was asked of others than that page's origin.
func (b *browser) elsewhere(page string) (list []string) {
	GinkgoHelper()
	home, err := url.Parse(page)
	Expect(err).NotTo(HaveOccurred())
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if u, err := url.Parse(r); err != nil || u.Host != home.Host || u.Scheme != home.Scheme {
			list = append(list, r)
		}
	}
	return list
}

// do does one thing after another, all within patience.
func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	Expect(chromedp.Do(ctx, steps...)).To(Succeed())
}

// eval evaluates an expression in the page, and waits if it is a promise.
func eval[T any](b *browser, expression string) T {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	Expect(err).NotTo(HaveOccurred())
	return value
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

// open opens a page and waits until it has drawn.
func (b *browser) open(page string) {
	GinkgoHelper()
	b.do(chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS("#main")))
}

// look sets the window's size and the scheme; motion is off, so that what is
// seen does not depend on when.
func (b *browser) look(width, height int64, scheme string) {
	GinkgoHelper()
	options := []chromedp.EmulateViewportOption{}
	if width < 600 {
		options = append(options, chromedp.EmulateMobile)
	}
	b.do(chromedp.EmulateViewport(width, height, options...), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	}))
}

// text is what an element says, as a person reads it.
func (b *browser) text(selector string) string {
	GinkgoHelper()
	words := eval[string](b, "(e => e?.innerText ?? e?.textContent ?? '')(document.querySelector("+quoted(selector)+"))")
	return strings.Join(strings.Fields(words), " ")
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
