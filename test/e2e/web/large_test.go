// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/web"
)

const many = 5000

// still is a source in which nothing changes.
type still struct{ state *inventory.State }

func (s still) Read(context.Context) *inventory.State { return s.state }
func (still) Lost() (time.Time, error)                { return time.Time{}, nil }
func (still) Heard() time.Time                        { return time.Now() }
func (still) Ask(context.Context) error               { return nil }

// crowd is a network of that many peers, with a /24 each.
func crowd(n int) *inventory.State {
	s := &inventory.State{Leases: map[string]coordinationv1.Lease{}, Namespace: namespace}
	s.Pools = []v1alpha1.AddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/8"}}}
	now, lasts := metav1.NowMicro(), int32(40)
	for i := range n {
		p := v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%04d", i), UID: types.UID(fmt.Sprint("uid-", i)), CreationTimestamp: metav1.Now()}}
		p.Status.Agent = &v1alpha1.AgentReport{Version: "v0.1.0", HostName: p.Name + ".example"}
		p.Status.Underlay = []string{fmt.Sprintf("192.168.%d.%d", i/250, i%250)}
		r := v1alpha1.AddressRange{Spec: v1alpha1.AddressRangeSpec{
			Pool: "default", Epoch: 1, CIDR: fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255), Owner: &v1alpha1.PeerReference{Name: p.Name, UID: p.UID},
		}}
		r.Status.Used = int64(i % 256)
		holder := string(p.UID)
		s.Leases[p.Name] = coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &now, LeaseDurationSeconds: &lasts}}
		s.Peers, s.Ranges = append(s.Peers, p), append(s.Ranges, r)
	}
	return s
}

var _ = Describe("a network of 5,000 peers", func() {
	It("can be used", func(ctx SpecContext) {
		serving, end := context.WithCancel(context.WithoutCancel(ctx))
		ready, done := make(chan string, 1), make(chan error, 1)
		feed := web.NewFeed("crowd", still{crowd(many)}, nil, error.Error)
		go func() { done <- web.Serve(serving, feed, 0, func(url string) { ready <- url }) }()
		DeferCleanup(func() {
			end()
			Expect(<-done).To(Succeed())
		})
		page := <-ready
		b := launch(ctx)
		b.look(1280, 900, "light")
		b.open(page)
		drawn := eval[float64](b, `performance.getEntriesByName('drawn')[0].startTime`)
		Expect(b.text("#peers-sum")).To(Equal("5,000"))
		Expect(eval[int](b, `document.querySelectorAll('#rows tr').length`)).To(Equal(50))
		arcs := eval[int](b, `document.querySelectorAll('.arc').length`)
		Expect(arcs).To(And(BeNumerically(">", 100), BeNumerically("<=", 512)))
		Expect(eval[float64](b, `Math.min(...[...document.querySelectorAll('.arc .body')].map(p => p.getTotalLength()))`)).To(BeNumerically(">", 70), "an arc that cannot be seen")
		filtered := eval[float64](b, `(() => { const f = document.getElementById('filter'), at = performance.now();
			f.value = 'node-4711'; f.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - at })()`)
		Expect(b.text("#peers-sum")).To(Equal("1 of 5,000"))
		b.do(click(`tr[data-peer="node-4711"] button`))
		Expect(b.text("tr.detail")).To(ContainSubstring("10.18.103.0/24"))

		response, err := http.Get(page + "document.json")
		Expect(err).NotTo(HaveOccurred())
		size := 0
		for buffer := make([]byte, 1<<16); err == nil; {
			var n int
			n, err = response.Body.Read(buffer)
			size += n
		}
		Expect(response.Body.Close()).To(Succeed())
		http.DefaultClient.CloseIdleConnections()
		AddReportEntry("measured", fmt.Sprintf("%d peers: first drawn %.0f ms after the navigation, %d arcs, document of %d bytes, filtered in %.0f ms", many, drawn, arcs, size, filtered))
		// Generous: machines may be slow. What is measured is in the report.
		Expect(drawn).To(BeNumerically("<", 20_000))
		Expect(size).To(BeNumerically("<", 3_000_000))
	})
})
