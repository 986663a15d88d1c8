// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const healthKey = "resource.customizations.health.net.selvage.dev_"

// healthScripts are those that config/argocd/health.yaml gives Argo CD, by kind.
func healthScripts() (map[string]string, error) {
	source, err := controlplane.SourceDir()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(source, "config/argocd/health.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the health scripts: %w", err)
	}
	var patch corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &patch); err != nil {
		return nil, fmt.Errorf("reading the health scripts: %w", err)
	}
	scripts := map[string]string{}
	for _, kind := range kinds {
		if script := patch.Data[healthKey+kind]; script != "" {
			scripts[kind] = script
		}
	}
	if len(scripts) != len(patch.Data) {
		return nil, fmt.Errorf("config/argocd/health.yaml has keys of no kind: %v", patch.Data)
	}
	return scripts, nil
}

// judge runs a script as Argo CD does: with the object as obj, the libraries
// base and table, and within a second.
// https://argo-cd.readthedocs.io/en/stable/operator-manual/health/
func judge(script string, o *unstructured.Unstructured) (status, message string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	vm := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer vm.Close()
	vm.SetContext(ctx)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := vm.CallByParam(lua.P{Fn: vm.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", err
		}
	}
	vm.SetGlobal("obj", luaValue(vm, o.Object))
	if err := vm.DoString(script); err != nil {
		return "", "", err
	}
	answer, ok := vm.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", errors.New("the script returns no table")
	}
	return lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message")), nil
}

// luaValue is what JSON is in Lua.
func luaValue(vm *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case nil:
		return lua.LNil
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		list := vm.CreateTable(len(v), 0)
		for _, item := range v {
			list.Append(luaValue(vm, item))
		}
		return list
	case map[string]any:
		table := vm.CreateTable(0, len(v))
		for key, item := range v {
			table.RawSetString(key, luaValue(vm, item))
		}
		return table
	default:
		panic(fmt.Sprintf("%T is no JSON", value))
	}
}
