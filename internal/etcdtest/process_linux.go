package etcdtest

import "syscall"

// killWithParent covers what the end of stdin does not: a stopped server would not notice. The kernel wakes a stopped
// group whose parent has ended, but not everywhere: in a container its new parent may be of the same session.
func killWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
