// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/removal"
)

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// brokenError is check's verdict; what is broken has been printed.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

// fail prints an error with its remedy, and returns the exit code.
func (s *session) fail(cmd *cobra.Command, err error) int {
	var misuse *usageError
	var broken *brokenError
	var wait *removal.WaitError
	_, _ = fmt.Fprintf(s.ErrOut, "error: %s\n", explain(err))
	switch {
	case errors.As(err, &misuse):
		_, _ = fmt.Fprintf(s.ErrOut, "see: %s --help\n", cmd.CommandPath())
		return ExitUsage
	case errors.As(err, &broken):
		return ExitBroken
	case errors.As(err, &wait) && wait.Timeout():
		return ExitTimeout
	case errors.As(err, &wait):
		return ExitInterrupted
	}
	return ExitError
}

// explain puts the remedy beside what went wrong.
func explain(err error) string {
	var status apierrors.APIStatus
	var address *url.Error
	switch {
	case clientcmd.IsEmptyConfig(err) || errors.Is(err, clientcmd.ErrEmptyCluster):
		return "no cluster is configured: name a kubeconfig with --kubeconfig or KUBECONFIG"
	case clientcmd.IsContextNotFound(err) || absentContext.MatchString(err.Error()):
		return fmt.Sprintf("%v: kubectl config get-contexts lists those there are", err)
	case meta.IsNoMatchError(err) || missingKind(err):
		return "this cluster has no Selvage: its resources (" + v1alpha1.GroupVersion.String() + ") are not installed;" +
			" install it with: kubectl apply -k config/default (docs/install.md)" +
			" (if they were deleted by mistake, see docs/operate.md first)"
	case apierrors.IsForbidden(err) && errors.As(err, &status) && status.Status().Details != nil && !policy(err):
		return fmt.Sprintf("%v\nthe roles selvage-view (to look) and selvage-edit (to remove peers) give this right", err)
	case apierrors.IsUnauthorized(err):
		return "the API server does not know you: log in again, or choose another context with --context"
	case errors.As(err, &address) && !errors.As(err, &status):
		return unreachable(address)
	}
	return err.Error()
}

// absentContext is what clientcmd says of --context, in no error of its own.
var absentContext = regexp.MustCompile(`^context ".*" does not exist$`)

// policy says that an admission policy refused, and not the want of a right:
// its message already says what to do.
func policy(err error) bool {
	return strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
}

// missingKind tells a kind that is not served from an object that is not there:
// the API server names the object only in the second case.
func missingKind(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	if d == nil || d.Name == "" {
		return true
	}
	for _, c := range d.Causes {
		if c.Type == metav1.CauseTypeUnexpectedServerResponse {
			return true
		}
	}
	return false
}

func unreachable(err *url.Error) string {
	where := err.URL
	if u, perr := url.Parse(err.URL); perr == nil {
		where = u.Scheme + "://" + u.Host
	}
	why := err.Err.Error()
	var op *net.OpError
	if errors.As(err, &op) {
		why = op.Err.Error()
	}
	return fmt.Sprintf("the API server at %s does not answer (%s): is this the right context? kubectl config current-context", where, why)
}
