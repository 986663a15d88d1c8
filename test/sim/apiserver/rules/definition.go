// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"encoding/json"
	"os"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// definition is a CustomResourceDefinition, compiled. What it does is what
// k8s.io/apiextensions-apiserver/pkg/registry/customresource does, in the same
// order with the same functions; that package would bring a whole API server.
type definition struct {
	kind       schema.GroupVersionKind
	structural *structuralschema.Structural
	// object validates an object, status a status alone: as CEL is not meant.
	object, status validation.SchemaValidator
	cel            *cel.Validator
}

// content is an object as the API server sees it.
type content = map[string]any

func read(file string) (*definition, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	written := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(raw, written); err != nil {
		return nil, err
	}
	version := written.Spec.Versions[0]
	internal := &apiextensions.CustomResourceValidation{}
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(version.Schema, internal, nil); err != nil {
		return nil, err
	}
	d := &definition{kind: schema.GroupVersionKind{Group: written.Spec.Group, Version: version.Name, Kind: written.Spec.Names.Kind}}
	if d.structural, err = structuralschema.NewStructural(internal.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	if err := defaulting.PruneDefaults(d.structural); err != nil {
		return nil, err
	}
	if d.object, _, err = validation.NewSchemaValidator(internal.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	status := internal.OpenAPIV3Schema.Properties["status"]
	if d.status, _, err = validation.NewSchemaValidator(&status); err != nil {
		return nil, err
	}
	d.cel = cel.NewValidator(d.structural, true, celconfig.PerCallLimit)
	return d, nil
}

// convert makes of an object what the API server makes of its JSON.
func (d *definition) convert(o client.Object) (content, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var out content
	if err := utiljson.Unmarshal(raw, &out); err != nil {
		return nil, err
	}
	out["apiVersion"], out["kind"] = d.kind.GroupVersion().String(), d.kind.Kind
	defaulting.Default(out, d.structural)
	return out, nil
}

func (d *definition) creation(ctx context.Context, is content) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, is, d.object)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, is)...)
	if blocks(errs) {
		return errs
	}
	more, _ := d.cel.Validate(ctx, nil, d.structural, is, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, more...)
}

func (d *definition) update(ctx context.Context, was, is content) field.ErrorList {
	// What has not changed may stay as it is, even if a rule forbids it now.
	ratchet := common.NewCorrelatedObject(is, was, &model.Structural{Structural: d.structural})
	var errs field.ErrorList
	if equality.Semantic.DeepEqual(was["status"], is["status"]) {
		errs = validation.ValidateCustomResourceUpdate(nil, is, was, d.object, validation.WithRatcheting(ratchet))
	} else if status, there := is["status"]; there {
		errs = validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, was["status"], d.status,
			validation.WithRatcheting(ratchet.Key("status")))
	}
	if len(listtype.ValidateListSetsAndMaps(nil, d.structural, was)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, is)...)
	}
	if blocks(errs) {
		return errs
	}
	more, _ := d.cel.Validate(ctx, nil, d.structural, is, was, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(ratchet))
	return append(errs, more...)
}

// blocks: CEL rules make no sense of an object with such errors.
func blocks(errs field.ErrorList) bool {
	return slices.ContainsFunc(errs, func(e *field.Error) bool {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
		return false
	})
}
