// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The planted ones; each has a mark by which it is looked for.
const (
	jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IlBMQU5URUQifQ.eyJpc3MiOiJQTEFOVEVEIn0.PLANTEDsignature_-x"
	pem = "-----BEGIN RSA PRIVATE KEY-----\nPLANTEDMIIEpAIBAAKCAQEA\nPLANTEDzz==\n-----END RSA PRIVATE KEY-----"
)

func TestText(t *testing.T) {
	lines := map[string]string{
		"a service account's token":  "failed with token " + jwt + " at once",
		"a token alone":              jwt,
		"a header":                   "Authorization: Bearer PLANTED-abcdef",
		"a header in a dump":         `map[Authorization:[Bearer PLANTEDabcdef]]`,
		"basic":                      "proxy says Basic UExBTlRFRDpQTEFOVEVE and PLANTED_ is elsewhere=no",
		"a key":                      "read " + pem + " from disk",
		"a key with escaped ends":    `{"key":"` + strings.ReplaceAll(pem, "\n", `\n`) + `"}`,
		"a key cut off at its end":   "x -----BEGIN CERTIFICATE-----\nPLANTED",
		"a key cut off at its start": "PLANTEDabc\nPLANTEDdef=\n-----END CERTIFICATE-----\nrest",
		"a key in base64":            "certificate-authority-data: " + base64.StdEncoding.EncodeToString([]byte(pem)),
		"an assignment":              "starting with password=PLANTED, quietly",
		"a YAML field":               "db-password: PLANTED",
		"a JSON field":               `{"level":"info","apiKey":"PLANTED \" more","b":1}`,
		"an escaped JSON field":      `{"msg":"{\"client_secret\":\"PLANTED\"}"}`,
		"a flag":                     "--bootstrap-token='PLANTED x'",
		"an environment variable":    "AWS_SECRET_ACCESS_KEY=PLANTED",
		"a bootstrap token":          "join with abcdef.0123456789abcdef now",
		"an address":                 "GET https://user:PLANTED@registry.example.com/v2/",
	}
	for name, line := range lines {
		got := Text("before " + line + "\nafter")
		for _, secret := range []string{"PLANTED-", "PLANTEDabc", "PLANTEDMII", "PLANTEDzz", "PLANTED,", ": PLANTED", "=PLANTED", "\"PLANTED", ":PLANTED", "PLANTEDsig", "UExBTlRFRDpQ", "UExBTlRFRE", "'PLANTED", "0123456789abcdef", "eyJpc3Mi"} {
			if strings.Contains(got, secret) {
				t.Errorf("%s: %q is left in %q", name, secret, got)
			}
		}
		if !strings.Contains(got, Redacted) {
			t.Errorf("%s: nothing was taken out: %q", name, got)
		}
	}
}

// What a maintainer reads is left.
func TestTextLeavesTheRest(t *testing.T) {
	for _, line := range []string{
		`time=2026-11-23T03:12:44Z level=INFO msg="joined the network" peer=host1 uid=0a1b2c3d-1111-2222-3333-444455556666`,
		`{"level":"info","msg":"range granted","range":"10.40.0.0/14","epoch":7}`,
		"host3: waiting for its lease to run out (48s left)",
		"10.32.0.0/12 fd00:10::/64 02:42:ac:11:00:02 sha256:0123456789abcdef",
		"serviceAccountName selvage-agent, secretName of nothing",
	} {
		if got := Text(line); got != line {
			t.Errorf("%q became %q", line, got)
		}
	}
}

const podManifest = `{
	"apiVersion": "v1", "kind": "Pod",
	"metadata": {"name": "agent", "managedFields": [{"manager": "PLANTED"}], "annotations": {
		"example.com/registry": "PLANTED", "net.selvage.dev/break-glass": "INC-4711",
		"kubectl.kubernetes.io/last-applied-configuration": "{\"env\":[{\"name\":\"A\",\"value\":\"PLANTED\"}]}"}},
	"spec": {"template": {"metadata": {"annotations": {"vault.example.com/x": "PLANTED"}}},
		"automountServiceAccountToken": false,
		"containers": [{"name": "agent", "args": ["--token", "PLANTED", "--password=PLANTED", "--lease-duration=60s"],
			"env": [{"name": "HARMLESS_LOOKING", "value": "PLANTED"}, {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}],
		"imagePullSecrets": [{"name": "registry"}],
		"volumes": [{"name": "s", "secret": {"secretName": "kept"}}, {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]},
	"data": {"db_password": "PLANTED", "note": "the token is ` + jwt + `"}
}`

func TestObjects(t *testing.T) {
	var pod, secret map[string]any
	if err := json.Unmarshal([]byte(podManifest), &pod); err != nil {
		t.Fatal(err)
	}
	secret = map[string]any{"kind": "Secret", "data": map[string]any{"x": "PLANTED"}}
	b := &Bundle{Root: "root"}
	b.Objects("pods.yaml", []unstructured.Unstructured{{Object: pod}, {Object: secret}})
	b.Text("log", "password=PLANTED")
	b.Fail("host2", errors.New("said Bearer PLANTED-secret"))
	all := unpack(t, b)
	for name, text := range all {
		if strings.Contains(text, "PLANTED") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
	for _, kept := range []string{"INC-4711", "--lease-duration=60s", "HARMLESS_LOOKING", "spec.nodeName", "secretName: kept", "automountServiceAccountToken: false", "name: registry"} {
		if !strings.Contains(all["root/pods.yaml"], kept) {
			t.Errorf("%s is lost:\n%s", kept, all["root/pods.yaml"])
		}
	}
	if got := all["root/errors.txt"]; !strings.Contains(got, errSecret.Error()) || !strings.Contains(got, "host2: ") {
		t.Errorf("errors.txt: %s", got)
	}
	if pod["metadata"].(map[string]any)["managedFields"] == nil {
		t.Error("the caller's object was changed")
	}
}

// unpack reads a bundle back.
func unpack(t *testing.T, b *Bundle) map[string]string {
	t.Helper()
	var packed bytes.Buffer
	if err := b.Write(&packed, time.Unix(1e9, 5)); err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[header.Name] = string(text)
	}
}

// Whatever stands before it, what is planted is taken out.
func FuzzText(f *testing.F) {
	for _, s := range []string{jwt, pem, "password: x", `"token":"a\"b"`, "://a:b@", "-----END A-----"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ReplaceAll(s, "PLANTED", "")
		got := Text(fmt.Sprintf("%s\npassword=PLANTED\n%s\n%s", s, jwt, pem))
		if strings.Contains(got, "PLANTEDsignature") || strings.Contains(got, "PLANTEDMII") {
			t.Errorf("left in %q", got)
		}
	})
}

// A log of the largest size is gone through in a fraction of what it takes to
// fetch it.
func BenchmarkText(b *testing.B) {
	line := `2026-11-23T03:12:44.1Z time=2026-11-23T03:12:44Z level=INFO msg="range granted" peer=host1 uid=0a1b2c3d-1111-2222-3333-444455556666 range=10.40.0.0/14` + "\n"
	text := strings.Repeat(line, (2<<20)/len(line))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Text(text)
	}
}
