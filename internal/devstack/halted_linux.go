package devstack

import (
	"bytes"
	"fmt"
	"os"
)

// halted returns nil if SIGSTOP has stopped the process. The signal takes effect some time after kill(2) returns.
func halted(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // pid (name) state …
	if err != nil {
		return err
	}
	if _, state, _ := bytes.Cut(stat, []byte(") ")); !bytes.HasPrefix(state, []byte("T")) {
		return errNotYet
	}
	return nil
}
