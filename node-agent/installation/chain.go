// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// plainConflist is the configuration if no other is named. cniVersion is for
// runtimes that do not know of cniVersions, of which others take the highest.
const plainConflist = `{
  "cniVersion": "1.0.0",
  "cniVersions": ["1.0.0", "1.1.0"],
  "name": "selvage",
  "plugins": [
    {"type": "selvage", "capabilities": {"ips": true}},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}
`

// askPatience is for a plugin to say which versions it speaks.
const askPatience = 5 * time.Second

// chain is the configuration with those plugins alone that the node has, at
// the versions that all of them speak: one that is absent, or is handed a
// version unknown to it, fails every pod.
func (i *Installation) chain() (conflist []byte, absent []string, err error) {
	conflist = []byte(plainConflist)
	if i.Conflist != "" {
		if conflist, err = os.ReadFile(i.Conflist); err != nil {
			return nil, nil, fmt.Errorf("the CNI configuration to install (--cni-conflist): %w", err)
		}
	}
	list := map[string]any{}
	if err := json.Unmarshal(conflist, &list); err != nil {
		return nil, nil, fmt.Errorf("the CNI configuration to install (--cni-conflist): %w", err)
	}
	plugins, ok := list["plugins"].([]any)
	if !ok || len(plugins) == 0 {
		return nil, nil, fmt.Errorf("the CNI configuration to install (--cni-conflist) has no list of plugins")
	}
	if i.BinDir == "" {
		return conflist, nil, nil // nobody said where the plugins are
	}
	var present []any
	for _, p := range plugins {
		name := typeOf(p)
		if name == pluginName {
			present = append(present, p)
			continue
		}
		// Which is where plugins are, and nowhere else.
		if strings.ContainsRune(name, filepath.Separator) {
			return nil, nil, fmt.Errorf("the CNI configuration to install (--cni-conflist) names the plugin %q: it has to be a file's name in %s", name, i.BinDir)
		}
		path := filepath.Join(i.BinDir, name)
		if info, err := os.Stat(path); name == "" || err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			absent = append(absent, name)
			continue
		}
		present = append(present, p)
		limit(list, spoken(path))
	}
	list["plugins"] = present
	conflist, err = json.MarshalIndent(list, "", "  ")
	return append(conflist, '\n'), absent, err
}

func typeOf(plugin any) string {
	fields, _ := plugin.(map[string]any)
	name, _ := fields["type"].(string)
	return name
}

// spoken are the versions that a plugin says it speaks
// (https://www.cni.dev/docs/spec/#version). One that cannot be asked, as if it
// is linked to libraries that are not in this image, is taken for an old one,
// which speaks all up to 1.0.0.
func spoken(path string) []string {
	old := []string{"0.3.1", "0.4.0", "1.0.0"}
	ctx, cancel := context.WithTimeout(context.Background(), askPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{"CNI_COMMAND=VERSION"}
	cmd.Stdin = bytes.NewReader([]byte(`{"cniVersion": "1.0.0"}`))
	said, err := cmd.Output()
	if err != nil {
		return old
	}
	var answer struct {
		Supported []string `json:"supportedVersions"`
	}
	if json.Unmarshal(said, &answer) != nil || len(answer.Supported) == 0 {
		return old
	}
	return answer.Supported
}

// limit takes versions out of the list that a plugin does not speak.
func limit(list map[string]any, spoken []string) {
	versions, ok := list["cniVersions"].([]any)
	if !ok {
		return
	}
	list["cniVersions"] = slices.DeleteFunc(versions, func(v any) bool {
		text, _ := v.(string)
		return !slices.Contains(spoken, text)
	})
}
