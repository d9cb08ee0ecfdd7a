package child

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// dieWithParent has the kernel signal the command when this process ends before it, however that comes about.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// runs looks for processes of the group that are not zombies.
func (g group) runs() bool {
	proc, err := os.Open("/proc")
	if err != nil {
		return true
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return true
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		if stat, err := os.ReadFile("/proc/" + name + "/stat"); err == nil && g.hasRunning(stat) {
			return true
		}
	}
	return false
}

// hasRunning reads a line of proc_pid_stat(5): "pid (name) state ppid pgrp …", the 20th field being the number of
// threads. The first thread of a process may be a zombie while others run.
func (g group) hasRunning(stat []byte) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 18 || string(fields[2]) != strconv.Itoa(int(g)) {
		return false
	}
	dead := string(fields[0]) == "Z" || string(fields[0]) == "X"
	return !dead || string(fields[17]) != "1" && string(fields[17]) != "0"
}

// zombies are the children of a process that have ended and are not buried.
func zombies(parent int) (pids []int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[0]) == "Z" && string(fields[1]) == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}
