package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// A profile is what pprof knows of one run of ours: CPU, and allocations since the process began, before and after (go tool
// pprof -base).
type profile struct {
	path string
	cpu  *os.File
}

// profiled begins one, where it is wanted.
func (m *meter) profiled() (*profile, error) {
	if m.l.cfg.Profile == "" || m.sample.Arm != oursArm {
		return nil, nil
	}
	p := &profile{path: filepath.Join(m.l.cfg.Profile, fmt.Sprintf("%s-%d", m.sample.Scenario, m.sample.Round))}
	if err := p.allocs("before"); err != nil {
		return nil, err
	}
	var err error
	if p.cpu, err = os.Create(p.path + ".cpu.pprof"); err != nil { // #nosec G304 -- where the caller wants it
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(p.cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), p.cpu.Close())
	}
	return p, nil
}

func (p *profile) end() error {
	if p == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return errors.Join(p.cpu.Close(), p.allocs("after"))
}

func (p *profile) allocs(when string) error {
	file, err := os.Create(p.path + ".allocs-" + when + ".pprof") // #nosec G304 -- where the caller wants it
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(file, 0), file.Close())
}
