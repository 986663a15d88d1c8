// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// The story of one removal, as the page shows it: each step begins where the
// one before it ended.
var _ = Describe("the page", Ordered, func() {
	var (
		session *gexec.Session
		page    string
		b       *browser
	)
	BeforeAll(func(ctx SpecContext) {
		setStage(ctx)
		session, page = serve(ctx)
		b = launch(ctx)
		b.look(1280, 900, "light")
		b.open(page)
	})

	// eventually waits until an element says what it should.
	eventually := func(selector string, words ...any) {
		GinkgoHelper()
		for _, w := range words {
			Eventually(func() string { return b.text(selector) }).WithTimeout(patience).Should(ContainSubstring(fmt.Sprint(w)))
		}
	}

	It("shows what kubectl selvage map says", func(ctx SpecContext) {
		var m struct {
			Pools []struct {
				Name, CIDR, Total, Free string
				Used                    int64
				Ranges                  int
				Owners                  []struct {
					Peer            string
					Addresses, Used int64
					Ranges          int
				}
			}
		}
		Expect(json.Unmarshal([]byte(run(ctx, "map", "-o", "json")), &m)).To(Succeed())
		Expect(m.Pools).To(HaveLen(2))
		used := map[string]int64{}
		for i, pool := range m.Pools {
			b.do(click(fmt.Sprintf("#pools button:nth-child(%d)", i+1)))
			eventually("#centre", pool.Name, pool.CIDR)
			Expect(eval[int](b, "document.querySelectorAll('.arc').length")).To(Equal(pool.Ranges))
			for n, o := range pool.Owners {
				Expect(b.text(fmt.Sprintf("#owners li:nth-child(%d)", n+1))).To(And(ContainSubstring(o.Peer),
					ContainSubstring("%d range", o.Ranges), ContainSubstring("%s addresses, %d in use", grouped(o.Addresses), o.Used)))
				used[o.Peer] += o.Used
			}
		}
		b.do(click("#pools button:first-child"))
		Expect(eval[int](b, "document.querySelectorAll('#rows tr').length")).To(Equal(len(cluster.Hosts)))
		for name, n := range used {
			Expect(b.text(`tr[data-peer="` + name + `"]`)).To(And(ContainSubstring("Active"), ContainSubstring("renewed"),
				ContainSubstring(" %d ", n), ContainSubstring(cluster.Hosts[name]), ContainSubstring("v0.1.0")))
		}
		Expect(b.text("#controller")).To(Equal("Controller: controller-0 leads"))
		Expect(b.text("#live")).To(Equal("live"))
	})

	It("asks nobody but its own program", func() {
		Expect(b.elsewhere(page)).To(BeEmpty())
		// What a page elsewhere would have to be asked for is not even sent.
		refused := eval[bool](b, `fetch('http://127.0.0.1:1/').then(() => false, () => true)`)
		Expect(refused).To(BeTrue())
		Expect(b.elsewhere(page)).To(BeEmpty())
	})

	It("can be used with the keyboard alone", func() {
		focused := func() string {
			GinkgoHelper()
			return eval[string](b, `(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent).trim()`)
		}
		visible := func() bool {
			GinkgoHelper()
			return eval[bool](b, `(() => { const e = document.activeElement, s = getComputedStyle(e.querySelector?.('.body') ?? e);
				return s.outlineStyle !== 'none' || parseFloat(s.strokeWidth) >= 4; })()`)
		}
		// Tab goes through the page, and from its end to its beginning.
		next := func() bool {
			GinkgoHelper()
			b.do(chromedp.KeyEvent(kb.Tab))
			return !eval[bool](b, `document.activeElement === document.body`)
		}
		for next() {
			continue // from wherever it was to the end of the page
		}
		seen := []string{}
		for next() {
			seen = append(seen, focused())
			Expect(visible()).To(BeTrue(), "the focus on %q cannot be seen", focused())
		}
		Expect(seen).To(ContainElements("Skip to the peers", "default", "v6", ContainSubstring("host1, 10.32.0.0/23, 402 of 512 in use"), HavePrefix("Ahost3"), "Lease"))
		for name := range cluster.Hosts {
			Expect(seen).To(ContainElement(HaveSuffix(name)), "its row cannot be reached")
		}
		b.do(chromedp.Focus(chromedp.CSS(`.arc[tabindex="0"]`)), chromedp.KeyEvent(kb.ArrowRight))
		Expect(focused()).To(HavePrefix("host2, 10.32.2.0/23"))
		Expect(b.text("#arc")).To(ContainSubstring("host2 10.32.2.0/23 190 of 512 in use"))
		b.do(chromedp.KeyEvent(kb.End))
		Expect(focused()).To(HavePrefix("host6"))
		b.do(chromedp.KeyEvent(kb.ArrowRight))
		Expect(focused()).To(HavePrefix("host1"))
		b.do(chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.Enter))
		Expect(focused()).To(HaveSuffix("host6"))
		Expect(b.text("tr.detail")).To(And(ContainSubstring("10.32.12.0/23"), ContainSubstring("host6.rack7"), ContainSubstring("instance-of-host6")))
		b.do(chromedp.KeyEvent(kb.Escape))
		Expect(eval[int](b, "document.querySelectorAll('tr.detail').length")).To(BeZero())
	})

	It("finds peers", func() {
		b.do(chromedp.SendKeys(chromedp.CSS("#filter"), "rack7 77.14"))
		eventually("#peers-sum", "1 of 6")
		Expect(b.text("#rows")).To(ContainSubstring("host4"))
		choose := func(selector, value, event string) {
			eval[bool](b, fmt.Sprintf(`(e => { e.value = '%s'; return e.dispatchEvent(new Event('%s')) })(document.querySelector('%s'))`, value, event, selector))
		}
		choose("#filter", "", "input")
		choose("#state", "unwell", "change")
		eventually("#peers-sum", "0 of 6")
		choose("#state", "", "change")
		b.do(click("#by-used button"), click("#by-used button"))
		Expect(b.text("#rows tr:first-child")).To(HavePrefix("A host3"))
		Expect(b.text("#by-used")).To(Equal("Used"))
		b.do(click("#by-name button"))
	})

	It("shows a removal as it is declared, without being loaded again", func(ctx SpecContext) {
		eval[bool](b, `window.loadedOnce = true`)
		Expect(b.text("#removals")).To(HavePrefix("None."))
		cluster.Declare(ctx, "host3", "host1")
		eventually("#removals", "host3", "host1", "removing host3 … waiting for the controller to accept the removal")
		cluster.Accept(ctx, "host3", "waiting for host3's lease to run out (48s left), or proof that it is down")
		eventually("#removals", "fencing host3 … waiting for host3's lease to run out (48s left)", "to give it up: kubectl selvage cancel host3", "No evidence yet")
		eventually(`#removals [aria-current="step"]`, "Fencing")
		eventually(`tr[data-peer="host3"]`, "Fencing")
		Expect(eval[string](b, `document.querySelector('.arc[aria-label*="10.32.8.0/22"]').getAttribute('aria-label')`)).
			To(Equal("host3, 10.32.8.0/22, 288 of 1024 in use, of host3, whose removal is under way; goes to host1"))
		Expect(eval[int](b, `document.querySelectorAll('#moves path').length`)).To(Equal(1))
		status := run(ctx, "status")
		for _, line := range []string{"fencing host3 … waiting for host3's lease", "sooner: drain host3, or vouch that it is off"} {
			Expect(status).To(ContainSubstring(line))
			Expect(b.text("#removals")).To(ContainSubstring(line), "as kubectl selvage status says it")
		}
		Expect(eval[bool](b, "window.loadedOnce")).To(BeTrue())
	})

	It("is read on a phone, and in both schemes", func() {
		for _, scheme := range []string{"light", "dark"} {
			for _, size := range [][2]int64{{1280, 900}, {360, 740}, {820, 1100}} {
				b.look(size[0], size[1], scheme)
				Expect(eval[int](b, "document.documentElement.scrollWidth")).To(BeNumerically("<=", size[0]), "%s, %d wide: it scrolls sideways", scheme, size[0])
				poor := eval[[]string](b, contrast)
				Expect(poor).To(BeEmpty(), "%s, %d wide: what cannot be read well", scheme, size[0])
			}
		}
		b.look(1280, 900, "light")
	})

	pictures(&b)
	mapPictures()

	It("shows text as text", func(ctx SpecContext) {
		evil := `<script>window.broken=1</script><img src=x onerror="window.broken=2"> "'&`
		cluster.Waiting(ctx, "host3", evil)
		eventually("#removals", evil)
		eventually(`tr[data-peer="host3"]`, evil)
		Expect(eval[bool](b, "window.broken === undefined && !document.querySelector('main script, main img')")).To(BeTrue())
		// Nor could it, if the page were careless.
		Expect(eval[string](b, `(() => { try { document.getElementById('arc').innerHTML = '<b>x</b>'; return 'taken' } catch { return 'refused' } })()`)).To(Equal("refused"))
		cluster.Waiting(ctx, "host3", "waiting for host3's lease to run out (8s left), or proof that it is down")
	})

	It("says that it is not live, and goes on, when the API server was away", func(ctx SpecContext) {
		cluster.Plane.APIServer.Stop()
		eventually("#live", "not live")
		eventually("#banner", "Not live. What is shown is as of", "the API server at https://127.0.0.1", "does not answer")
		Expect(b.text("#removals")).To(ContainSubstring("8s left"), "what was known is still shown")
		Expect(cluster.Plane.APIServer.Start(ctx)).To(Succeed())
		Eventually(func() string { return b.text("#live") }).WithTimeout(patience).Should(Equal("live"))
		Expect(b.text("#banner")).To(BeEmpty())
		Expect(eval[bool](b, "window.loadedOnce")).To(BeTrue())
		Eventually(func() error { return cluster.Admin.List(ctx, &v1alpha1.PeerList{}) }).WithTimeout(patience).Should(Succeed())
	})

	It("follows a removal to its end", func(ctx SpecContext) {
		cluster.Transfer(ctx, "host3", "host1")
		eventually("#removals", "fencing host3 … lease sealed; cut off by 0 of 5 peers", "Evidence: LeaseExpired")
		for _, by := range []string{"host1", "host2", "host4", "host5"} {
			cluster.CutOff(ctx, by, "host3")
		}
		eventually("#removals", "cut off by 4 of 5 peers; waiting for host6")
		eventually(`tr[data-peer="host3"]`, "Transferring", "sealed")
		cluster.CutOff(ctx, "host6", "host3")
		cluster.Finish(ctx, "host3")
		eventually("#ended", "1792 IPs taken over from host3", "host3 is kept out until its PeerRemoval is deleted")
		eventually("#removals", "None.")
		var ranges v1alpha1.AddressRangeList
		Expect(cluster.Controller.List(ctx, &ranges, client.InNamespace(""))).To(Succeed())
		for i := range ranges.Items {
			if r := &ranges.Items[i]; r.Spec.PreviousOwner != nil {
				cluster.Observe(ctx, r, r.Spec.Epoch, 0)
			}
		}
		eventually("#owners li:first-child", "host1", "3 ranges, 2,048 addresses")
		Expect(eval[bool](b, "window.loadedOnce")).To(BeTrue())
		Expect(b.elsewhere(page)).To(BeEmpty())
	})

	It("is led to by a file of one's own", func(ctx SpecContext) {
		// A browser's command that notes what it is asked to open.
		dir := GinkgoT().TempDir()
		noted := filepath.Join(dir, "noted")
		Expect(os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\nprintf %s \"$1\" > "+noted+".new && mv "+noted+".new "+noted+"\n"), 0o700)).To(Succeed())
		cmd := command(context.WithoutCancel(ctx), "web", "--open")
		cmd.Env = append(cmd.Env, "PATH="+dir+":"+cluster.Bin+":"+os.Getenv("PATH"))
		opened, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { opened.Interrupt().Wait(patience) })
		Eventually(noted).WithTimeout(patience).Should(BeARegularFile())
		path, err := os.ReadFile(noted)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(path)).NotTo(ContainSubstring("127.0.0.1"), "a command line is no place for a secret")
		info, err := os.Stat(string(path))
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))
		other := launch(ctx)
		other.do(chromedp.Navigate("file://"+string(path)), chromedp.WaitVisible(chromedp.CSS("#main")))
		Expect(other.text("#live")).To(Equal("live"))
		Expect(opened.Interrupt().Wait(patience)).To(HaveField("ExitCode()", 0))
		Expect(string(path)).NotTo(BeAnExistingFile())
		Eventually(func() string { return other.text("#banner") }).WithTimeout(patience).Should(ContainSubstring("kubectl selvage web has ended"))
	})

	It("says that its program has ended", func() {
		response, err := http.Get(page + "document.json")
		Expect(err).NotTo(HaveOccurred())
		Expect(response.Body.Close()).To(Succeed())
		Expect(response.StatusCode).To(Equal(http.StatusOK))
		http.DefaultClient.CloseIdleConnections()
		Expect(session.Interrupt().Wait(patience)).To(HaveField("ExitCode()", 0))
		eventually("#live", "ended")
		eventually("#banner", "kubectl selvage web has ended; start it again")
	})
})

func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
