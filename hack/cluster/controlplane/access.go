// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// auditPolicy records the writes to Selvage's own objects.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
  resources: [{group: net.selvage.dev}]
- level: None
`

func (cp *ControlPlane) makeCertificates() error {
	serving, err := cp.pki.serving(cp.servedAddresses())
	if err != nil {
		return err
	}
	if err := cp.pki.serviceAccountKey(); err != nil {
		return err
	}
	if err := cp.pki.write("apiserver.crt", serving.cert); err != nil {
		return err
	}
	if err := cp.pki.write("apiserver.key", serving.key); err != nil {
		return err
	}
	return cp.pki.write("../audit-policy.yaml", []byte(auditPolicy))
}

// writeAdmin makes an administrator's access to the address chosen last.
func (cp *ControlPlane) writeAdmin() error {
	admin, err := cp.pki.client("admin", "system:masters")
	if err != nil {
		return err
	}
	cp.Kubeconfig = filepath.Join(cp.Dir, "admin.kubeconfig")
	cp.Config, err = cp.writeKubeconfig(cp.Kubeconfig, cp.Published, clientcmdapi.AuthInfo{
		ClientCertificateData: admin.cert, ClientKeyData: admin.key,
	})
	if err != nil || cp.options.Nodes == nil {
		return err
	}
	return cp.writeInside()
}

// UserFor makes a kubeconfig for a person or a pipeline: a user in groups, by
// client certificate. RBAC decides what they may do.
func (cp *ControlPlane) UserFor(user string, groups ...string) (string, *rest.Config, error) {
	pair, err := cp.pki.client(user, groups...)
	if err != nil {
		return "", nil, err
	}
	path := filepath.Join(cp.Dir, fileName(user)+".kubeconfig")
	config, err := cp.writeKubeconfig(path, cp.Published, clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key})
	return path, config, err
}

// tokenLifetime outlasts a demo that is kept up for a day's play.
const tokenLifetime = 24 * 3600

// KubeconfigFor makes a kubeconfig with a token of the service account (made,
// with its namespace, if absent), bound to pod unless that is nil.
func (cp *ControlPlane) KubeconfigFor(ctx context.Context, namespace, account string, pod *corev1.Pod) (string, *rest.Config, error) {
	return cp.KubeconfigVia(ctx, cp.Published, namespace, account, pod)
}

// KubeconfigVia is KubeconfigFor through another address of the API server,
// such as a forwarder's: the certificate is checked by name.
func (cp *ControlPlane) KubeconfigVia(ctx context.Context, server netip.AddrPort, namespace, account string, pod *corev1.Pod) (string, *rest.Config, error) {
	token, err := cp.Token(ctx, namespace, account, pod)
	if err != nil {
		return "", nil, err
	}
	name := namespace + "-" + account
	if pod != nil {
		name += "-" + pod.Name
	}
	path := filepath.Join(cp.Dir, fileName(name)+".kubeconfig")
	config, err := cp.writeKubeconfig(path, server, clientcmdapi.AuthInfo{Token: token})
	return path, config, err
}

// Token requests a token of the service account, as the kubelet does for pods.
func (cp *ControlPlane) Token(ctx context.Context, namespace, account string, pod *corev1.Pod) (string, error) {
	clients, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		return "", fmt.Errorf("making a client: %w", err)
	}
	if err := ensureAccount(ctx, clients, namespace, account); err != nil {
		return "", err
	}
	lifetime := int64(tokenLifetime)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID,
		}
	}
	answer, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token of %s/%s: %w", namespace, account, err)
	}
	return answer.Status.Token, nil
}

func ensureAccount(ctx context.Context, clients kubernetes.Interface, namespace, account string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := clients.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the namespace %s: %w", namespace, err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}
	if _, err := clients.CoreV1().ServiceAccounts(namespace).Create(ctx, sa, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the service account %s/%s: %w", namespace, account, err)
	}
	return nil
}

func (cp *ControlPlane) writeKubeconfig(path string, server netip.AddrPort, user clientcmdapi.AuthInfo) (*rest.Config, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["selvage"] = &clientcmdapi.Cluster{
		Server: "https://" + server.String(), TLSServerName: serverName, CertificateAuthorityData: cp.pki.caPEM,
	}
	config.AuthInfos["user"] = &user
	config.Contexts["selvage"] = &clientcmdapi.Context{Cluster: "selvage", AuthInfo: "user"}
	config.CurrentContext = "selvage"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	rc, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading %s back: %w", path, err)
	}
	rc.QPS = -1 // no waiting on the client's side
	return rc, nil
}

func fileName(name string) string { return strings.NewReplacer("/", "-", ":", "-").Replace(name) }
