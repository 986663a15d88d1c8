// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command m calls what the made-up database calls vulnerable.
package main

import "html"

func main() { println(html.EscapeString("<")) }
