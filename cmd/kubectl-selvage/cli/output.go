// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
)

// reportVersion is the apiVersion of reports printed with -o json: they are
// documents, not objects of the API.
const reportVersion = "cli.net.selvage.dev/v1alpha1"

// output is the -o flag of a command.
type output struct {
	flags     *genericclioptions.PrintFlags
	noHeaders bool
	// tabular says which of "" and wide the command draws itself.
	tabular []string
	// objects says that -o name makes sense: what is printed are API objects.
	objects bool
}

// addOutput gives a command -o. Objects have names, reports have none.
func addOutput(cmd *cobra.Command, objects bool, tabular ...string) *output {
	o := &output{flags: genericclioptions.NewPrintFlags("").WithTypeSetter(scheme), tabular: tabular, objects: objects}
	o.flags.AddFlags(cmd)
	if slices.Contains(tabular, "wide") {
		cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "Leave the headers of tables out")
	}
	cmd.Flags().Lookup("output").Usage = "Output format. One of: " + strings.Join(o.formats(), ", ")
	for _, name := range []string{"allow-missing-template-keys", "show-managed-fields", "template"} {
		_ = cmd.Flags().MarkHidden(name)
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.formats(), cobra.ShellCompDirectiveNoFileComp))
	return o
}

func (o *output) formats() []string {
	formats := []string{"json", "yaml"}
	if o.objects {
		formats = append(formats, "name")
	}
	for _, t := range o.tabular {
		if t != "" {
			formats = append(formats, t)
		}
	}
	return append(formats, "go-template=…", "jsonpath=…")
}

func (o *output) format() string { return *o.flags.OutputFormat }

// drawn says whether the command draws the answer itself; an unknown format is
// a usage error, told before anything is asked of the cluster.
func (o *output) drawn() (bool, error) {
	if o.format() == "" || slices.Contains(o.tabular, o.format()) {
		return true, nil
	}
	if o.format() == "name" && !o.objects {
		return false, usage("-o name: this is a report, and has no name; use one of %s", strings.Join(o.formats(), ", "))
	}
	if _, err := o.flags.ToPrinter(); err != nil {
		if genericclioptions.IsNoCompatiblePrinterError(err) {
			return false, usage("-o %s is not a format; use one of %s", o.format(), strings.Join(o.formats(), ", "))
		}
		return false, usage("-o %s: %v", o.format(), err)
	}
	return false, nil
}

func (o *output) wide() bool { return o.format() == "wide" }

// print writes API objects.
func (o *output) print(w io.Writer, obj runtime.Object) error {
	printer, err := o.flags.ToPrinter()
	if err != nil {
		return err
	}
	return printer.PrintObj(obj, w)
}

// report writes a document.
func (o *output) report(w io.Writer, kind string, document any) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &u.Object); err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	u.SetAPIVersion(reportVersion)
	u.SetKind(kind)
	return o.print(w, u)
}

// page is where tables go: in colour on a terminal that wants it.
func (s *session) page(o *output) *display.Page {
	p := &display.Page{Writer: s.Out, Colour: printers.AllowsColorOutput(s.Out), Now: time.Now()}
	if o != nil {
		p.NoHeaders = o.noHeaders
	}
	return p
}
