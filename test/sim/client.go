// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// apiClient is a process's client, which does not cache. What it embeds is nil:
// nobody calls the rest.
type apiClient struct {
	client.Client
	p *process
}

func copied(o client.Object) client.Object { return o.DeepCopyObject().(client.Object) }

// Get is client.Reader.Get.
func (c *apiClient) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	k := apiserver.KindOf(o)
	got, err := c.p.request(false, func(s *apiserver.Server) (any, error) { return s.Get(k, key.Namespace, key.Name) })
	if err != nil {
		return err
	}
	assign(o, got.(client.Object))
	return nil
}

// List is client.Reader.List: consistent.
func (c *apiClient) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	k := kindOfList(list)
	var o client.ListOptions
	o.ApplyOptions(opts)
	got, err := c.p.request(false, func(s *apiserver.Server) (any, error) { return s.List(k, o.Namespace), nil })
	if err != nil {
		return err
	}
	fill(list, apiserver.Selected(got.([]client.Object), o.FieldSelector), true)
	return nil
}

// Create is client.Writer.Create.
func (c *apiClient) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	sent := copied(o)
	return c.write(o, func(s *apiserver.Server) (any, error) { return s.Create(sent) })
}

// Update is client.Writer.Update.
func (c *apiClient) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return c.update(o, false)
}

func (c *apiClient) update(o client.Object, status bool) error {
	sent, blind := copied(o), c.p.w.Mutation == Blind
	return c.write(o, func(s *apiserver.Server) (any, error) {
		if now, err := s.Get(apiserver.KindOf(sent), sent.GetNamespace(), sent.GetName()); err == nil && blind {
			sent.SetResourceVersion(now.GetResourceVersion())
			sent.SetUID(now.GetUID())
		}
		return s.Update(sent, status)
	})
}

func (c *apiClient) write(o client.Object, do func(*apiserver.Server) (any, error)) error {
	got, err := c.p.request(true, do)
	if err != nil {
		return err
	}
	assign(o, got.(client.Object))
	return nil
}

// Delete is client.Writer.Delete.
func (c *apiClient) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	var d client.DeleteOptions
	d.ApplyOptions(opts)
	k, namespace, name, pre := apiserver.KindOf(o), o.GetNamespace(), o.GetName(), d.Preconditions
	if c.p.w.Mutation == DeleteByName {
		pre = nil
	}
	_, err := c.p.request(true, func(s *apiserver.Server) (any, error) { return nil, s.Delete(k, namespace, name, pre) })
	return err
}

// Status is client.StatusClient.Status.
func (c *apiClient) Status() client.SubResourceWriter { return &statusClient{c: c} }

type statusClient struct {
	client.SubResourceWriter
	c *apiClient
}

// Update is client.SubResourceWriter.Update.
func (s *statusClient) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	return s.c.update(o, true)
}

// Patch is client.SubResourceWriter.Patch, of a patch that carries the version
// it was made for: then it comes to the same as an update.
func (s *statusClient) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.c.update(o, true)
}

// assign gives an object the content of another, which is not shared.
func assign(to, from client.Object) {
	switch to := to.(type) {
	case *v1alpha1.AddressPool:
		from.(*v1alpha1.AddressPool).DeepCopyInto(to)
	case *v1alpha1.Peer:
		from.(*v1alpha1.Peer).DeepCopyInto(to)
	case *v1alpha1.AddressRange:
		from.(*v1alpha1.AddressRange).DeepCopyInto(to)
	case *v1alpha1.PeerRemoval:
		from.(*v1alpha1.PeerRemoval).DeepCopyInto(to)
	case *corev1.Node:
		from.(*corev1.Node).DeepCopyInto(to)
	case *corev1.Pod:
		from.(*corev1.Pod).DeepCopyInto(to)
	case *coordinationv1.Lease:
		from.(*coordinationv1.Lease).DeepCopyInto(to)
	case *corev1.Event:
		from.(*corev1.Event).DeepCopyInto(to)
	default:
		panic(fmt.Sprintf("sim: %T", to))
	}
}

func kindOfList(list client.ObjectList) *apiserver.Kind {
	switch list.(type) {
	case *v1alpha1.AddressPoolList:
		return apiserver.Pools
	case *v1alpha1.PeerList:
		return apiserver.Peers
	case *v1alpha1.AddressRangeList:
		return apiserver.Ranges
	case *v1alpha1.PeerRemovalList:
		return apiserver.Removals
	case *corev1.NodeList:
		return apiserver.Nodes
	case *corev1.PodList:
		return apiserver.Pods
	case *coordinationv1.LeaseList:
		return apiserver.Leases
	}
	panic(fmt.Sprintf("sim: %T", list))
}

// fill puts objects into a list; copied: sharing nothing with them.
func fill(list client.ObjectList, objects []client.Object, copied bool) {
	switch list := list.(type) {
	case *v1alpha1.AddressPoolList:
		list.Items = items[v1alpha1.AddressPool](objects, copied)
	case *v1alpha1.PeerList:
		list.Items = items[v1alpha1.Peer](objects, copied)
	case *v1alpha1.AddressRangeList:
		list.Items = items[v1alpha1.AddressRange](objects, copied)
	case *v1alpha1.PeerRemovalList:
		list.Items = items[v1alpha1.PeerRemoval](objects, copied)
	case *corev1.NodeList:
		list.Items = items[corev1.Node](objects, copied)
	case *corev1.PodList:
		list.Items = items[corev1.Pod](objects, copied)
	case *coordinationv1.LeaseList:
		list.Items = items[coordinationv1.Lease](objects, copied)
	}
}

func items[T any, P interface {
	*T
	client.Object
	DeepCopyInto(*T)
}](objects []client.Object, copied bool) []T {
	out := make([]T, len(objects))
	for i, o := range objects {
		if copied {
			o.(P).DeepCopyInto(&out[i])
		} else {
			out[i] = *o.(P)
		}
	}
	return out
}
