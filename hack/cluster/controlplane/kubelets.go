// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Nodes are the options of a control plane that kubelets join.
type Nodes struct {
	// ServiceRanges are those of Services, at most one of each family; the
	// first family is the one that Services have by default.
	ServiceRanges []netip.Prefix
	// GracePeriod is how long a node may be silent before it is NotReady, and
	// CheckPeriod how often that is asked; zero is Kubernetes' default.
	GracePeriod, CheckPeriod time.Duration
}

// serviceAddresses are those of the Service "kubernetes".
func (n *Nodes) serviceAddresses() (addresses []netip.Addr) {
	for _, r := range n.ServiceRanges {
		addresses = append(addresses, r.Masked().Addr().Next())
	}
	return addresses
}

func (n *Nodes) serviceRanges() string {
	var ranges []string
	for _, r := range n.ServiceRanges {
		ranges = append(ranges, r.String())
	}
	return strings.Join(ranges, ",")
}

// watching are the controller manager's arguments.
func (n *Nodes) watching() []string {
	args := []string{"--service-cluster-ip-range=" + n.serviceRanges(), "--use-service-account-credentials=true", "--kube-api-qps=500", "--kube-api-burst=500"}
	if n.GracePeriod > 0 {
		args = append(args, fmt.Sprintf("--node-monitor-grace-period=%s", n.GracePeriod))
	}
	if n.CheckPeriod > 0 {
		args = append(args, fmt.Sprintf("--node-monitor-period=%s", n.CheckPeriod))
	}
	return args
}

// nodeServing are the API server's arguments that depend on whether there are
// kubelets.
func (cp *ControlPlane) nodeServing() []string {
	if cp.options.Nodes == nil {
		return []string{
			"--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
			// Pods are made here without the controllers that make service accounts.
			"--disable-admission-plugins=ServiceAccount",
		}
	}
	return []string{
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + cp.options.Nodes.serviceRanges(),
		// For logs, exec and port-forward.
		"--kubelet-client-certificate=" + cp.pki.path("kubelet-client.crt"),
		"--kubelet-client-key=" + cp.pki.path("kubelet-client.key"),
		"--kubelet-certificate-authority=" + cp.pki.path("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

func (cp *ControlPlane) scheduler(port uint16) *Component {
	kubeconfig := cp.insidePath("system:kube-scheduler")
	args := []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--authentication-tolerate-lookup-failure=true",
	}
	return cp.component("kube-scheduler", cp.nodePaths.Scheduler, args, cp.healthy(port))
}

// writeInside makes what the control plane's own programs and its API server
// present to others.
func (cp *ControlPlane) writeInside() error {
	for _, user := range []string{"system:kube-controller-manager", "system:kube-scheduler"} {
		if err := cp.KubeconfigInside(cp.insidePath(user), user); err != nil {
			return err
		}
	}
	pair, err := cp.pki.client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	if err := cp.pki.write("kubelet-client.crt", pair.cert); err != nil {
		return err
	}
	return cp.pki.write("kubelet-client.key", pair.key)
}

func (cp *ControlPlane) insidePath(user string) string {
	return filepath.Join(cp.Dir, fileName(user)+".kubeconfig")
}

// KubeconfigInside writes a kubeconfig for a user in groups, by client
// certificate, for use where the API server itself runs, or on the hosts.
func (cp *ControlPlane) KubeconfigInside(path, user string, groups ...string) error {
	pair, err := cp.pki.client(user, groups...)
	if err != nil {
		return err
	}
	_, err = cp.writeKubeconfig(path, cp.Address, clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key})
	return err
}

// KubeletServing signs the certificate that a kubelet serves with, in PEM.
func (cp *ControlPlane) KubeletServing(node string, addresses ...netip.Addr) (cert, key []byte, err error) {
	var ips []net.IP
	for _, a := range addresses {
		ips = append(ips, a.AsSlice())
	}
	pair, err := cp.pki.node(node, ips)
	return pair.cert, pair.key, err
}

// Authority is the certificate authority that signed all this, in PEM.
func (cp *ControlPlane) Authority() []byte { return cp.pki.caPEM }

// NodePaths are the nodes' programs.
func (cp *ControlPlane) NodePaths() NodePaths { return cp.nodePaths }
