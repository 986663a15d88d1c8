// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config holds the manifests that a program compares a cluster with.
package config

import "embed"

// Guards are the kinds with their schemas and the admission policies: what the
// API server itself holds everybody to.
//
//go:embed crd/bases/*.yaml admission/*.yaml crd-guard/*.yaml
var Guards embed.FS
