// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("looking", func() {
	It("shows the network on one page", func(ctx SpecContext) {
		setStage(ctx)
		out := run(ctx, "status").succeed()
		Expect(out).To(ContainSubstring("default   10.32.0.0/12   1048576"))
		Expect(out).To(ContainSubstring("3 peers: 3 Active"))
		Expect(out).To(ContainSubstring("controller: controller-0 leads"))
	})
})

var _ = json.Valid
