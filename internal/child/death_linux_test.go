package child_test

import (
	"bufio"
	"io"
	"os"
	"testing"
	"time"
)

// TestChildDiesWithItsParent kills a parent with SIGKILL. Its child holds the other end of a pipe open until the kernel has
// killed it, too.
func TestChildDiesWithItsParent(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	parent := command("parent", out)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if err := in.SetReadDeadline(time.Now().Add(grace)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(in)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child reports %q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	if rest, err := io.ReadAll(lines); err != nil {
		t.Errorf("the child still runs: %q, %v", rest, err)
	}
}
