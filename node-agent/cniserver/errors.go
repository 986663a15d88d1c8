// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// The error codes of the CNI specification that are used here.
const (
	codeVersion     = types.ErrIncompatibleCNIVersion      // 1
	codeUnknown     = types.ErrUnknownContainer            // 3
	codeEnvironment = types.ErrInvalidEnvironmentVariables // 4
	codeDecode      = types.ErrDecodingFailure             // 6
	codeConfig      = types.ErrInvalidNetworkConfig        // 7
	codeTryAgain    = types.ErrTryAgainLater               // 11
	codeUnavailable = types.ErrPluginNotAvailable          // 50
	// codeWrong, of our own, is what CHECK says of an interface that is not as
	// ADD made it.
	codeWrong = 101
)

// fail makes an error that carries a code of the specification.
func fail(code uint, format string, args ...any) *types.Error {
	return types.NewError(code, fmt.Sprintf(format, args...), "")
}

// coded gives an error the code that tells the runtime what to do about it.
func coded(err error) *types.Error {
	var e *types.Error
	if errors.As(err, &e) {
		return e
	}
	if addresses.IsRefused(err) {
		return types.NewError(codeConfig, err.Error(), "")
	}
	// No space, no lease, and whatever the kernel may say: another try may do.
	return types.NewError(codeTryAgain, err.Error(), "")
}

// errorBody is the error as the plugin prints it.
func errorBody(err error, version string) []byte {
	e := coded(err)
	body, marshalErr := json.Marshal(struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{version, e})
	if marshalErr != nil {
		return []byte(`{"cniVersion":"1.1.0","code":5,"msg":"the error cannot be encoded"}`)
	}
	return append(body, '\n')
}
