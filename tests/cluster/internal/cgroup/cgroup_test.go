package cgroup

import (
	"slices"
	"testing"
)

func TestBothVersionsOfControlGroupsAreFoundAmongMounts(t *testing.T) {
	text := `23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:4 - cgroup cgroup rw,cpuset
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 23 0:38 / /elsewhere rw,relatime - cgroup2 cgroup2 rw
`
	want := []hierarchy{
		{root: "/sys/fs/cgroup/cpuset", cpuset: true},
		{root: "/sys/fs/cgroup/pids"},
		{root: "/sys/fs/cgroup/unified", unified: true},
	}
	if found := parseMounts(text); !slices.Equal(found, want) {
		t.Errorf("got %v", found)
	}
}

func TestAProcessIsOfAGroupWhenItIsInItOrBelow(t *testing.T) {
	group := Path("/paas-cluster/a")
	for text, want := range map[string]bool{
		"8:pids:/paas-cluster/a\n0::/\n":                true,
		"8:pids:/paas-cluster/a/node-1/system\n":        true,
		"8:pids:/paas-cluster/ab\n0::/paas-cluster\n":   false,
		"8:pids:/\n1:cpu:/elsewhere/paas-cluster/a\n":   false,
		"0::/paas-cluster/a/node-1/kubepods/pod7/abc\n": true,
	} {
		if got := group.holds(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
