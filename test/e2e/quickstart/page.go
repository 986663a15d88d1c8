// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package quickstart

import (
	"fmt"
	"regexp"
	"strings"
)

// step is a command of a page, and what the page says that it prints.
type step struct {
	// where it stands, as page:line.
	where   string
	command string
	shown   []string
}

// refused tells a command that is to fail by what is shown of it.
func (s step) refused() bool {
	return len(s.shown) > 0 && strings.HasPrefix(strings.ToLower(s.shown[0]), "error")
}

var heredoc = regexp.MustCompile(`<<-?'?(\w+)'?`)

// steps are those of a page's console blocks, in order: `$ ` begins a command,
// which goes on to the end of its here-document, and what follows is shown.
func steps(name, page string) (out []step) {
	console, until := false, ""
	for i, line := range strings.Split(page, "\n") {
		command, begins := strings.CutPrefix(line, "$ ")
		switch {
		case !console:
			console = line == "```console"
		case until != "":
			last := &out[len(out)-1]
			last.command += "\n" + line
			if line == until {
				until = ""
			}
		case line == "```":
			console = false
		case begins:
			out = append(out, step{where: fmt.Sprintf("%s:%d", name, i+1), command: command})
			if found := heredoc.FindStringSubmatch(command); found != nil {
				until = found[1]
			}
		case line != "" && len(out) > 0:
			out[len(out)-1].shown = append(out[len(out)-1].shown, line)
		}
	}
	return out
}

// section is what stands below a heading of a page, up to the next.
func section(page, heading string) (string, bool) {
	_, after, found := strings.Cut(page, "\n## "+heading+"\n")
	body, _, _ := strings.Cut(after, "\n## ")
	return body, found
}

// varies is what differs from run to run: ages, and addresses of the pool.
var varies = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\b(\d+(\.\d+)?(ms|s|m|h|d))+\b`), "AGE"},
	{regexp.MustCompile(`\b10\.3[2-9]\.\d+\.\d+\b`), "ADDRESS"},
	{regexp.MustCompile(`\s+`), " "},
}

func alike(line string) string {
	for _, v := range varies {
		line = v.what.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// missing is the first of the shown lines that is not among those printed, in
// their order, or "". What varies is alike, and … is anything.
func missing(shown []string, printed string) string {
	lines := strings.Split(printed, "\n")
	for _, want := range shown {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(alike(want)), "…", ".*") + "$")
		for {
			if len(lines) == 0 {
				return want
			}
			line := lines[0]
			lines = lines[1:]
			if pattern.MatchString(alike(line)) {
				break
			}
		}
	}
	return ""
}

// bare is a command without its comment.
func bare(command string) string {
	command, _, _ = strings.Cut(command, "  #")
	return strings.TrimSpace(command)
}
