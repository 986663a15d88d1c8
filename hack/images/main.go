// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command images builds Selvage's container images, without a registry and
// without a container engine: go run ./hack/images --help.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/hack/images/oci"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const long = `Builds Selvage's container images: static programs on an empty base, for several
platforms, each image an OCI archive that "ctr images import" and
"skopeo copy oci-archive:…" read. The same commit gives the same digests.

Their names are those that config/default asks for, so that a node which has them
loaded needs no registry. Version and date are git's; where there is no git, say
--version and --revision, and SOURCE_DATE_EPOCH.`

const examples = `  go run ./hack/images
  sudo ctr --namespace k8s.io images import bin/images/selvage-agent.tar

  # For a registry of yours; config/default is then told of the name, see docs/install.md:
  go run ./hack/images --repository registry.example.com/net --tag v1
  skopeo copy --all oci-archive:bin/images/selvage-agent.tar docker://registry.example.com/net/selvage-agent:v1`

// order is what to build.
type order struct {
	source, out              string
	architectures            []string
	repository, tag          string
	version, revision, epoch string
}

func newCommand() *cobra.Command {
	o := &order{epoch: os.Getenv("SOURCE_DATE_EPOCH")}
	cmd := &cobra.Command{
		Use: "images", Short: "Build Selvage's container images as OCI archives", Long: long, Example: examples,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.source, "source", ".", "the top of Selvage's source tree")
	f.StringVar(&o.out, "out", "bin/images", "where the archives go")
	f.StringSliceVar(&o.architectures, "architectures", []string{"amd64", "arm64"}, "which machines to build for, by Go's names")
	f.StringVar(&o.repository, "repository", "", "where the images will lie, such as registry.example.com/net (default: as in config/default)")
	f.StringVar(&o.tag, "tag", "", "their tag (default: as in config/default)")
	f.StringVar(&o.version, "version", "", "what the programs call themselves (default: git describe)")
	f.StringVar(&o.revision, "revision", "", "the commit, for the labels (default: git's)")
	return cmd
}

func (o *order) run(ctx context.Context, out io.Writer) error {
	from, err := o.origin(ctx)
	if err != nil {
		return err
	}
	refs, err := o.refs()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(o.out, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	for _, architecture := range o.architectures {
		fmt.Fprintf(out, "building %s for linux/%s (minutes the first time) …\n", strings.Join(programs(), ", "), architecture)
		if err := compile(ctx, o.source, filepath.Join(scratch, architecture), architecture, from.version); err != nil {
			return err
		}
	}
	for _, r := range recipes {
		archive := filepath.Join(o.out, r.name+".tar")
		digest, err := oci.Write(archive, r.image(refs[r.name], from), r.platforms(scratch, o.architectures))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s  %s  %s\n", archive, refs[r.name], digest)
	}
	return nil
}

func (r recipe) image(ref string, from origin) oci.Image {
	return oci.Image{Ref: ref, Created: from.date, Entrypoint: r.entrypoint(), User: r.user, Labels: r.labels(from)}
}

func (r recipe) platforms(built string, architectures []string) []oci.Platform {
	var platforms []oci.Platform
	for _, architecture := range architectures {
		p := oci.Platform{Architecture: architecture}
		for _, program := range r.programs {
			p.Files = append(p.Files, oci.File{Path: "/" + program, Source: filepath.Join(built, architecture, program)})
		}
		platforms = append(platforms, p)
	}
	return platforms
}

// programs are those of all images.
func programs() []string {
	var all []string
	for _, r := range recipes {
		all = append(all, r.programs...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
