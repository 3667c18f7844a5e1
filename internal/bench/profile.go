package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// A profile is that of one run of ours, for pprof: its CPU, and the allocations of the process before and after it (compare
// them with go tool pprof -base).
type profile struct {
	path string
	cpu  *os.File
}

// startProfile starts a profile if the configuration wants one. It returns nil otherwise.
func (m *meter) startProfile() (*profile, error) {
	if m.s.cfg.Profile == "" || m.sample.Arm != oursArm {
		return nil, nil
	}
	p := &profile{path: filepath.Join(m.s.cfg.Profile, fmt.Sprintf("%s-%d", m.sample.Scenario, m.sample.Round))}
	if err := p.writeAllocs("before"); err != nil {
		return nil, err
	}
	var err error
	if p.cpu, err = os.Create(p.path + ".cpu.pprof"); err != nil { // #nosec G304 -- the caller chooses the folder
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(p.cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), p.cpu.Close())
	}
	return p, nil
}

func (p *profile) stop() error {
	if p == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return errors.Join(p.cpu.Close(), p.writeAllocs("after"))
}

func (p *profile) writeAllocs(when string) error {
	file, err := os.Create(p.path + ".allocs-" + when + ".pprof") // #nosec G304 -- the caller chooses the folder
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(file, 0), file.Close())
}
