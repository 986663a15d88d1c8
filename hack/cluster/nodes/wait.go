// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// WaitBooted waits until the kubelets of the nodes that are on (or of those
// named) have reported from their present boot.
func (c *Cluster) WaitBooted(ctx context.Context, names ...string) error {
	return c.waitFor(ctx, names, "to boot", func(*corev1.Node) error { return nil })
}

// WaitReady waits until they are Ready as well. A node that has been switched
// off counts as Ready until the control plane notices: this is not fooled.
func (c *Cluster) WaitReady(ctx context.Context, names ...string) error {
	return c.waitFor(ctx, names, "to be Ready", func(n *corev1.Node) error {
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return fmt.Errorf("%s is not Ready: %s: %s", n.Name, condition.Reason, condition.Message)
			}
		}
		return nil
	})
}

// WaitNotReady waits until the control plane takes a node for lost.
func (c *Cluster) WaitNotReady(ctx context.Context, name string) error {
	return c.poll(ctx, name+" to be NotReady", func(ctx context.Context) error {
		n, err := c.clients.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%s is still Ready", name)
	})
}

func (c *Cluster) waitFor(ctx context.Context, names []string, what string, good func(*corev1.Node) error) error {
	var waited []*Node
	for _, name := range names {
		n, err := c.Node(name)
		if err != nil {
			return err
		}
		waited = append(waited, n)
	}
	if len(names) == 0 {
		waited = c.Nodes()
	}
	for _, n := range waited {
		if len(names) == 0 && n.State() == "off" {
			continue
		}
		err := c.poll(ctx, n.Name+" "+what, func(ctx context.Context) error {
			if n.State() == "off" {
				return fmt.Errorf("%s: %w; see %s", n.Name, errOff, n.Logs())
			}
			node, err := c.clients.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if node.Status.NodeInfo.BootID != n.BootID() {
				return fmt.Errorf("the kubelet of %s has not reported: see %s", n.Name, n.Logs())
			}
			return good(node)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// poll asks until the answer is good, at most as long as patience lasts.
func (c *Cluster) poll(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx)
		if errors.Is(last, errOff) {
			return false, last
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, errors.Join(err, last))
	}
	return nil
}
