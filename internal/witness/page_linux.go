package witness

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Page is the session's side of it.
type Page struct {
	mu     sync.Mutex
	file   *os.File
	handed bool // HandedOn was said, and stays
	groups [mostGroups]int
}

func newPage() (*Page, error) {
	fd, err := unix.MemfdCreate("fenceline", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	p := &Page{file: os.NewFile(uintptr(fd), "fenceline page")}
	var text [pageSize]byte
	copy(text[:], pageMagic)
	if _, err := p.file.WriteAt(text[:], 0); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

// Children says how many processes there are that may act under the leases. It has to be said before one is started. After HandedOn nothing changes it.
func (p *Page) Children(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handed {
		return nil
	}
	var text [4]byte
	binary.NativeEndian.PutUint32(text[:], uint32(n))
	_, err := p.file.WriteAt(text[:], childrenAt)
	p.handed = err == nil && n == HandedOn
	return err
}

// Group says in which process group a child runs that counts, once it does; with ended, that it has ended, before it counts no more.
func (p *Page) Group(group int, ended bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	find, write := 0, group
	if ended {
		find, write = group, 0
	}
	i := slices.Index(p.groups[:], find)
	if i < 0 { // there is no room, or there was none
		return nil
	}
	var text [4]byte
	binary.NativeEndian.PutUint32(text[:], uint32(write))
	if _, err := p.file.WriteAt(text[:], groupsAt+4*int64(i)); err != nil {
		return err
	}
	p.groups[i] = write
	return nil
}

// Until says that others may act until then, by the boot time. It has to be said before they may.
func (p *Page) Until(boot time.Duration) error {
	var text [8]byte
	binary.NativeEndian.PutUint64(text[:], uint64(boot))
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.file.WriteAt(text[:], untilAt)
	return err
}
