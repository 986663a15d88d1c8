// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package api holds the tests of what a real API server refuses and lets pass:
// the rules in the schemas, the admission policies, and what people and
// pipelines see. Each rule has a case of either kind; TestEveryRuleHasCases and
// TestEveryPolicyHasCases say which are missing.
package api
