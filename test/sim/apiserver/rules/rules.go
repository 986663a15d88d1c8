// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rules has the simulated API server refuse what the rules in the
// CustomResourceDefinitions refuse, by the API server's own code.
package rules

import (
	"context"
	"fmt"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Load returns the rules of the definitions in a folder (config/crd/bases), for
// apiserver.Server.Admit: schemas, sets and maps, CEL with its transition
// rules, and ratcheting. They take a hundred times as long as all else that the
// server does. Safe for concurrent use.
func Load(dir string) (func(before, after client.Object) error, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("looking for definitions: %w", err)
	}
	definitions := map[schema.GroupKind]*definition{}
	for _, f := range files {
		d, err := read(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		definitions[d.kind.GroupKind()] = d
	}
	if len(definitions) == 0 {
		return nil, fmt.Errorf("there are no definitions in %s", dir)
	}
	return func(before, after client.Object) error {
		d := definitions[apiserver.KindOf(after).GroupKind]
		if d == nil {
			return nil // the API server's own kinds
		}
		errs, err := d.judge(context.Background(), before, after)
		if err == nil && len(errs) > 0 {
			err = apierrors.NewInvalid(d.kind.GroupKind(), after.GetName(), errs)
		}
		return err
	}, nil
}

// judge validates one write; before is nil for a creation. It is about the
// status if that is what it changes: no other write can.
func (d *definition) judge(ctx context.Context, before, after client.Object) (field.ErrorList, error) {
	is, err := d.convert(after)
	if err != nil {
		return nil, err
	}
	if before == nil {
		return d.creation(ctx, is), nil
	}
	was, err := d.convert(before)
	if err != nil {
		return nil, err
	}
	return d.update(ctx, was, is), nil
}
