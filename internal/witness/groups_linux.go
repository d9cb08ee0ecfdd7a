package witness

import (
	"bytes"
	"os"
	"slices"
	"strconv"
)

// anyRuns looks for processes of these groups that are not dead. The number of a group is nobody else's while one is in it.
func anyRuns(groups []int) bool {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return true // who cannot be seen may be there
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name.Name() + "/stat")
		if err != nil {
			continue
		}
		// proc_pid_stat(5): "pid (name) state ppid pgrp …", the 20th field being the number of threads.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 18 {
			return true
		}
		group, err := strconv.Atoi(string(fields[2]))
		dead := (string(fields[0]) == "Z" || string(fields[0]) == "X") && (string(fields[17]) == "1" || string(fields[17]) == "0")
		if err != nil || slices.Contains(groups, group) && !dead {
			return true
		}
	}
	return false
}

// isChildsGroup says whether a process leads a group of its own, and is a child of another one, whose user it runs as.
func isChildsGroup(pid, parent int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 || string(fields[1]) != strconv.Itoa(parent) || string(fields[2]) != strconv.Itoa(pid) {
		return false
	}
	child, err := userOf(pid)
	if err != nil {
		return false
	}
	other, err := userOf(parent)
	return err == nil && child == other
}

// userOf are the four user IDs of a process.
func userOf(pid int) (string, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte("Uid:")); ok {
			return string(ids), nil
		}
	}
	return "", os.ErrNotExist
}
