// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"regexp"
	"strings"
)

// Redacted stands where something was taken out.
const Redacted = "(redacted)"

// sensitive are words in names of what nobody is to see.
const sensitive = `password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|client-key-data|credentials?|authorization`

// rule is something to be taken out.
type rule struct {
	find *regexp.Regexp
	put  string
	// hints are words of which a match has one, in lower case; none: it may be
	// anywhere. Logs are long, and most lines have nothing to be taken out.
	hints []string
}

// blocks go over lines: PEM (RFC 7468), also with its line ends escaped, and
// cut off at either end.
var blocks = []rule{
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)`), Redacted, []string{"-----begin "}},
	{regexp.MustCompile(`(?s)[A-Za-z0-9+/=\s\\]*-----END [A-Z0-9 ]+-----`), Redacted, []string{"-----end "}},
}

// lines are what is taken out of any line, whatever it says about it. Better
// too much than too little.
var lines = []rule{
	// PEM in base64, as in a kubeconfig: "-----BEGIN " begins so.
	{regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/=]+`), Redacted, []string{"ls0tls1crudjti"}},
	// JSON Web Tokens (RFC 7519): a service account's is one.
	{regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?`), Redacted, []string{"eyj"}},
	// Authorization headers (RFC 9110, section 11.6.2).
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}`), "$1 " + Redacted, []string{"bearer", "basic"}},
	// Bootstrap tokens.
	{regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`), Redacted, nil},
	// User names and passwords in addresses (RFC 3986, section 3.2.1).
	{regexp.MustCompile(`://[^/\s:@]+:[^/\s@]+@`), "://" + Redacted + "@", []string{"@"}},
	// name=value, name: value, "name": "value".
	{
		regexp.MustCompile(`(?i)([\w.-]*(?:` + sensitive + `)[\w.-]*\\?["']?\s*[:=]\s*)(\\?"(?:[^"\\]|\\[^"])*\\?"|'[^']*'|[^\s,;&"'{}\[\]]+)`), "${1}" + Redacted,
		[]string{"pass", "secret", "token", "key", "credential", "authorization"}, // of each word of sensitive, a part
	},
}

// Text takes out of a text what looks like a token, a key or a certificate.
func Text(s string) string {
	s = apply(blocks, s)
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(apply(lines, line))
	}
	return b.String()
}

func apply(rules []rule, s string) string {
	lower := strings.ToLower(s)
	for _, r := range rules {
		hinted := len(r.hints) == 0
		for _, h := range r.hints {
			hinted = hinted || strings.Contains(lower, h)
		}
		if hinted {
			s = r.find.ReplaceAllString(s, r.put)
		}
	}
	return s
}

// sensitiveKey is a field whose text is taken out whatever it is; names of
// Secrets are told, as in secretName.
var sensitiveKey = regexp.MustCompile(`(?i)(^|[._-])(` + sensitive + `)$`)

// sensitiveFlag is an argument whose value is the next one.
var sensitiveFlag = regexp.MustCompile(`(?i)^--?[\w-]*(` + sensitive + `)[\w-]*$`)

// Object takes out of an API object, in place: managed fields, values of
// environment variables, annotations of others, and what Text takes out.
func Object(object map[string]any) {
	if metadata, ok := object["metadata"].(map[string]any); ok {
		metadataOf(metadata)
	}
	walk(object)
}

func metadataOf(metadata map[string]any) {
	delete(metadata, "managedFields")
	annotations, _ := metadata["annotations"].(map[string]any)
	for key := range annotations {
		if !known(key) {
			annotations[key] = Redacted
		}
	}
}

// known annotations are Selvage's and Kubernetes' own, but for the one that
// holds a whole object.
func known(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	if key == "kubectl.kubernetes.io/last-applied-configuration" {
		return false
	}
	for _, d := range []string{"selvage.dev", "kubernetes.io", "k8s.io", "kubebuilder.io"} {
		if domain == d || strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	return false
}

func walk(value any) any {
	switch v := value.(type) {
	case string:
		return Text(v)
	case []any:
		for i := range v {
			flag, _ := "", false
			if i > 0 {
				flag, _ = v[i-1].(string)
			}
			if text, ok := v[i].(string); ok && sensitiveFlag.MatchString(flag) && text != "" {
				v[i] = Redacted
				continue
			}
			v[i] = walk(v[i])
		}
	case map[string]any:
		for key, field := range v {
			v[key] = walkField(key, field)
		}
	}
	return value
}

func walkField(key string, field any) any {
	switch f := field.(type) {
	case string:
		if sensitiveKey.MatchString(key) {
			return Redacted
		}
	case []any:
		if key == "env" {
			environment(f)
		}
	case map[string]any:
		if key == "metadata" { // a pod template's
			metadataOf(f)
		}
	}
	return walk(field)
}

// environment takes out the values: their names, and where they come from, stay.
func environment(all []any) {
	for _, e := range all {
		if variable, ok := e.(map[string]any); ok {
			if _, has := variable["value"]; has {
				variable["value"] = Redacted
			}
		}
	}
}
