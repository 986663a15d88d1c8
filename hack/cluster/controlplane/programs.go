// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func (cp *ControlPlane) etcd(client, peer uint16) *Component {
	cp.etcdURL = fmt.Sprintf("http://127.0.0.1:%d", client)
	peers := fmt.Sprintf("http://127.0.0.1:%d", peer)
	args := []string{
		"--name=default", "--data-dir=" + filepath.Join(cp.Dir, "etcd"),
		"--listen-client-urls=" + cp.etcdURL, "--advertise-client-urls=" + cp.etcdURL,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=default=" + peers,
		// Nothing here is to survive the machine.
		"--unsafe-no-fsync", "--log-level=warn",
	}
	return cp.component("etcd", cp.paths.Etcd, args, func(ctx context.Context) error {
		return get(ctx, cp.client(), cp.etcdURL+"/readyz")
	})
}

func (cp *ControlPlane) apiServer() *Component {
	args := []string{
		"--etcd-servers=" + cp.etcdURL,
		"--bind-address=" + cp.Address.Addr().String(), fmt.Sprintf("--secure-port=%d", cp.Address.Port()),
		// Without it, it looks for an interface with a default route.
		"--advertise-address=" + cp.Address.Addr().String(),
		"--anonymous-auth=true",
		"--client-ca-file=" + cp.pki.path("ca.crt"),
		"--tls-cert-file=" + cp.pki.path("apiserver.crt"), "--tls-private-key-file=" + cp.pki.path("apiserver.key"),
		"--service-account-issuer=https://" + serverName,
		"--service-account-signing-key-file=" + cp.pki.path("service-accounts.key"),
		"--service-account-key-file=" + cp.pki.path("service-accounts.key"),
		// The agent's DaemonSet asks for it, and is installed like the rest.
		"--allow-privileged=true",
		"--shutdown-delay-duration=0s", "--profiling=false", "--v=1",
		// Audit records show who wrote what, as a break-glass write must be.
		"--audit-policy-file=" + filepath.Join(cp.Dir, "audit-policy.yaml"), "--audit-log-path=" + filepath.Join(cp.Dir, "audit.log"),
	}
	args = append(args, cp.nodeServing()...)
	if gates := cp.featureGates(); gates != "" {
		args = append(args, gates)
	}
	if len(cp.options.RuntimeConfig) > 0 {
		args = append(args, "--runtime-config="+strings.Join(cp.options.RuntimeConfig, ","))
	}
	args = append(args, cp.options.APIServerArgs...)
	return cp.component("kube-apiserver", cp.paths.APIServer, args, serving(rest.CopyConfig(cp.Config)))
}

// serving asks /readyz, and for what the API server makes at its first start:
// the roles that everything else is bound to.
func serving(config *rest.Config) func(context.Context) error {
	return func(ctx context.Context) error {
		clients, err := kubernetes.NewForConfig(config)
		if err != nil {
			return fmt.Errorf("making a client: %w", err)
		}
		return clients.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}
}

func (cp *ControlPlane) controllerManager(port uint16) *Component {
	controllers := "*"
	if len(cp.options.Controllers) > 0 {
		controllers = strings.Join(cp.options.Controllers, ",")
	}
	args := []string{
		"--kubeconfig=" + cp.Kubeconfig, "--controllers=" + controllers, "--leader-elect=false",
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir=" + cp.pki.dir,
		"--service-account-private-key-file=" + cp.pki.path("service-accounts.key"), "--root-ca-file=" + cp.pki.path("ca.crt"),
		"--authorization-always-allow-paths=/healthz", "--authentication-tolerate-lookup-failure=true",
	}
	if cp.options.Nodes != nil {
		args[0] = "--kubeconfig=" + cp.insidePath("system:kube-controller-manager")
		args = append(args, cp.options.Nodes.watching()...)
	}
	if gates := cp.featureGates(); gates != "" {
		args = append(args, gates)
	}
	return cp.component("kube-controller-manager", cp.paths.ControllerManager, args, cp.healthy(port))
}

// healthy asks a program on the loopback how it is.
func (cp *ControlPlane) healthy(port uint16) func(context.Context) error {
	url := fmt.Sprintf("https://127.0.0.1:%d/healthz", port)
	return func(ctx context.Context) error { return get(ctx, cp.client(), url) }
}

func (cp *ControlPlane) featureGates() string {
	var gates []string
	for name, on := range cp.options.FeatureGates {
		gates = append(gates, fmt.Sprintf("%s=%t", name, on))
	}
	if len(gates) == 0 {
		return ""
	}
	slices.Sort(gates)
	return "--feature-gates=" + strings.Join(gates, ",")
}

// servedAddresses are those in the API server's certificate.
func (cp *ControlPlane) servedAddresses() []net.IP {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, cp.options.Listen.AsSlice()}
	for _, a := range cp.options.ServeAlso {
		addresses = append(addresses, a.AsSlice())
	}
	return addresses
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s says %s: %s", url, response.Status, body)
	}
	return nil
}
