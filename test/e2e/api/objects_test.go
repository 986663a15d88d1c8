// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

const (
	kindRange   = "AddressRange"
	kindPeer    = "Peer"
	kindPool    = "AddressPool"
	kindRemoval = "PeerRemoval"
)

var kinds = []string{kindPool, kindRange, kindPeer, kindRemoval}

// parse makes an object of the API's own group from its YAML.
func parse(kind, name, body string) *unstructured.Unstructured {
	GinkgoHelper()
	o := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(body), &o.Object)).To(Succeed(), body)
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetName(name)
	return o
}

// empty is what a request that needs only the name is made with.
func empty(kind, name string) *unstructured.Unstructured {
	return parse(kind, name, "{}")
}

// glass opens the break-glass for what the tests set up: who may write is not
// what these cases are about.
func glass(o *unstructured.Unstructured) *unstructured.Unstructured {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.BreakGlassAnnotation] = "set up by a test"
	o.SetAnnotations(annotations)
	return o
}

// patch sends a YAML merge patch: to the status if that is what it changes.
func patch(ctx context.Context, c client.Client, kind, name, body string) error {
	GinkgoHelper()
	raw, err := yaml.YAMLToJSON([]byte(body))
	Expect(err).NotTo(HaveOccurred(), body)
	var top map[string]any
	Expect(json.Unmarshal(raw, &top)).To(Succeed())
	p := client.RawPatch(types.MergePatchType, raw)
	if _, status := top["status"]; status {
		return c.Status().Patch(ctx, empty(kind, name), p)
	}
	return c.Patch(ctx, empty(kind, name), p)
}

func get(ctx context.Context, c client.Client, kind, name string) *unstructured.Unstructured {
	GinkgoHelper()
	o := empty(kind, name)
	Expect(c.Get(ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	return o
}

// remove takes an object away whatever state it is in, by the road that the
// rules leave open even to a broken glass: an owned range is first disowned.
func remove(ctx context.Context, admin client.Client, kind, name string) {
	GinkgoHelper()
	o := empty(kind, name)
	err := admin.Get(ctx, client.ObjectKeyFromObject(o), o)
	if apierrors.IsNotFound(err) {
		return
	}
	Expect(err).NotTo(HaveOccurred())
	glass(o)
	o.SetFinalizers(nil)
	if kind == kindRange {
		spec := o.Object["spec"].(map[string]any)
		if owner, owned := spec["owner"]; owned {
			spec["previousOwner"] = owner
			spec["epoch"] = spec["epoch"].(int64) + 1
			delete(spec, "owner")
		}
		delete(spec, "reserved")
	}
	Expect(admin.Update(ctx, o)).To(Succeed())
	Expect(client.IgnoreNotFound(admin.Delete(ctx, o))).To(Succeed())
	Eventually(func() bool {
		return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(o), empty(kind, name)))
	}).WithTimeout(patience).Should(BeTrue(), "%s %s is to go", kind, name)
}
