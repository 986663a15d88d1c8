// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

const defaultNamespace = "selvage-system"

func configFlags() *genericclioptions.ConfigFlags {
	return genericclioptions.NewConfigFlags(false)
}

// namespace is where Selvage is installed. The context's namespace is where a
// person works, which says nothing about that.
func (s *session) namespace() string {
	return cmp.Or(*s.config.Namespace, defaultNamespace)
}

var scheme = func() *runtime.Scheme {
	sch := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme, admissionv1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		if err := add(sch); err != nil {
			panic(err) // cannot happen: the kinds are compiled in
		}
	}
	return sch
}()

// mapper knows the few kinds that are used, so that no command begins with
// asking the API server for all there are.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, corev1.SchemeGroupVersion, coordinationv1.SchemeGroupVersion})
	for _, kind := range []string{"AddressPool", "AddressRange", "Peer", "PeerRemoval"} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	m.Add(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), meta.RESTScopeRoot)
	m.Add(admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"), meta.RESTScopeRoot)
	m.Add(admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"), meta.RESTScopeRoot)
	for _, kind := range []string{"DaemonSet", "Deployment"} {
		m.Add(appsv1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	for _, kind := range []string{"ConfigMap", "Event"} {
		m.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	m.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	m.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	// A cache of one namespace asks by the list's kind.
	m.Add(coordinationv1.SchemeGroupVersion.WithKind("LeaseList"), meta.RESTScopeNamespace)
	return m
}

// client reads and writes the API server directly: no cache, so that every
// LIST is consistent.
func (s *session) client() (client.Client, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	return client.New(c.Config, client.Options{HTTPClient: c.HTTP, Scheme: c.Scheme, Mapper: c.Mapper})
}

// cluster is the one that the flags and the kubeconfig name.
func (s *session) cluster() (survey.Cluster, error) {
	config, err := s.config.ToRESTConfig()
	if err != nil {
		return survey.Cluster{}, err
	}
	if s.nowhere(config) {
		return survey.Cluster{}, clientcmd.ErrEmptyCluster
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // a person at a terminal does not flood anybody
	config.UserAgent = "kubectl-selvage/" + s.version
	// A warning belongs beside the answer, not into the log.
	config.WarningHandler = rest.NewWarningWriter(s.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	httpClient, err := rest.HTTPClientFor(config)
	return survey.Cluster{Config: config, HTTP: httpClient, Scheme: scheme, Mapper: mapper()}, err
}

// nowhere says that the address is only what client-go falls back on when
// nobody has named a cluster.
func (s *session) nowhere(config *rest.Config) bool {
	raw, err := s.config.ToRawKubeConfigLoader().RawConfig()
	return err == nil && len(raw.Clusters) == 0 && *s.config.APIServer == "" && strings.HasSuffix(config.Host, "localhost:8080")
}
