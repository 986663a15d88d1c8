// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// recipe is what makes an image. The Dockerfile says the same; a test compares.
type recipe struct {
	name, title, description string
	// programs lie at the top of the image, side by side: the agent finds
	// there the CNI plugin that it installs. The first is the entry point.
	programs []string
	user     string
}

var recipes = []recipe{{
	name:        "selvage-controller",
	title:       "selvage-controller",
	description: "Decides which peer of a Selvage network owns which addresses",
	programs:    []string{"selvage-controller"},
	// Nobody in particular, as distroless images have it.
	user: "65532:65532",
}, {
	name:        "selvage-agent",
	title:       "selvage-agent",
	description: "Makes a node part of a Selvage network: the node agent, and the CNI plugin that it installs",
	programs:    []string{"selvage-agent", "selvage"},
	// Root, with the few capabilities that the DaemonSet leaves it.
	user: "0:0",
}}

func (r recipe) entrypoint() []string { return []string{"/" + r.programs[0]} }

// labels are the specification's own:
// https://github.com/opencontainers/image-spec/blob/main/annotations.md
func (r recipe) labels(from origin) map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       r.title,
		prefix + "description": r.description,
		prefix + "version":     from.version,
		prefix + "revision":    from.revision,
		prefix + "created":     from.date.UTC().Format(time.RFC3339),
		prefix + "source":      "https://github.com/selvage-net/selvage",
		prefix + "licenses":    "Apache-2.0",
	}
}

// refs are the images' whole names: those that config/default asks for, except
// for what the flags say.
func (o *order) refs() (map[string]string, error) {
	path := filepath.Join(o.source, "config", "default", "kustomization.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the images' names: %w", err)
	}
	var asked struct {
		Images []struct {
			Name    string `json:"name"`
			NewName string `json:"newName"`
			NewTag  string `json:"newTag"`
		} `json:"images"`
	}
	if err := yaml.Unmarshal(data, &asked); err != nil {
		return nil, fmt.Errorf("the images' names, in %s: %w", path, err)
	}
	refs := map[string]string{}
	for _, image := range asked.Images {
		name, tag := image.Name, image.NewTag
		if image.NewName != "" {
			name = image.NewName
		}
		base := name[strings.LastIndex(name, "/")+1:]
		if o.repository != "" {
			name = o.repository + "/" + base
		}
		if o.tag != "" {
			tag = o.tag
		}
		refs[base] = name + ":" + tag
	}
	for _, r := range recipes {
		if refs[r.name] == "" {
			return nil, fmt.Errorf("%s names no image %s", path, r.name)
		}
	}
	return refs, nil
}
