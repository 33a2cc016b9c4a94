package network

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// HostRoutes lists what the host's routing tables lead to.
func HostRoutes() ([]netip.Prefix, error) {
	output, err := run("ip", "-4", "route", "show", "table", "all")
	if err != nil {
		return nil, err
	}
	return parseRoutes(output), nil
}

// parseRoutes reads the destinations of `ip route`; lines without one are left out.
func parseRoutes(text string) []netip.Prefix {
	var routes []netip.Prefix
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		// The kinds of route that a destination may follow.
		if len(words) > 1 && slices.Contains([]string{"local", "broadcast", "unreachable", "blackhole", "prohibit"}, words[0]) {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		if prefix, err := netip.ParsePrefix(words[0]); err == nil {
			routes = append(routes, prefix)
		} else if address, err := netip.ParseAddr(words[0]); err == nil {
			routes = append(routes, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	return routes
}

// EnsureBridge makes the cluster's bridge with the host's address, the host's routes, and the rules that let the
// nodes out. What exists already stays.
func (p Plan) EnsureBridge() error {
	bridge := p.Bridge()
	if !linkExists(bridge) {
		if _, err := run("ip", "link", "add", bridge, "type", "bridge"); err != nil {
			return err
		}
	}
	for _, arguments := range [][]string{
		{"address", "replace", fmt.Sprintf("%s/%d", p.Host(), p.Nodes().Bits()), "dev", bridge},
		{"link", "set", bridge, "up"},
		{"route", "replace", p.Services().String(), "via", p.Node(1).String(), "dev", bridge, "onlink"},
		{"route", "replace", p.Gateway().String(), "via", p.Node(1).String(), "dev", bridge, "onlink"},
	} {
		if _, err := run("ip", arguments...); err != nil {
			return err
		}
	}
	return p.ensureWayOut()
}

// EnsureCable plugs a node into the bridge: a pair of links with one end in the network namespace of a process.
func (p Plan) EnsureCable(number, pid int) error {
	inside := namespace(pid)
	if _, err := run("nsenter", inside("ip", "link", "show", "eth0")...); err != nil {
		link := p.Link(number)
		if linkExists(link) { // of a node that died
			if _, err := run("ip", "link", "delete", link); err != nil {
				return err
			}
		}
		_, err := run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid))
		if err != nil {
			return err
		}
		if _, err := run("ip", "link", "set", link, "master", p.Bridge(), "up"); err != nil {
			return err
		}
	}
	for _, arguments := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "replace", fmt.Sprintf("%s/%d", p.Node(number), p.Nodes().Bits()), "dev", "eth0"},
		{"link", "set", "eth0", "up"},
		{"route", "replace", "default", "via", p.Host().String()},
	} {
		if _, err := run("nsenter", inside(append([]string{"ip"}, arguments...)...)...); err != nil {
			return err
		}
	}
	if _, err := run("nsenter", inside("sysctl", "-qw", "net.ipv4.ip_forward=1")...); err != nil {
		return err
	}
	_, err := run("ip", "route", "replace", p.NodePods(number).String(), "via", p.Node(number).String(), "dev", p.Bridge())
	return err
}

// EnsureRoutes tells a node where the pods of the others are.
func (p Plan) EnsureRoutes(number, nodes, pid int) error {
	inside := namespace(pid)
	for other := 1; other <= nodes; other++ {
		if other == number {
			continue
		}
		arguments := []string{"ip", "route", "replace", p.NodePods(other).String(), "via", p.Node(other).String()}
		if _, err := run("nsenter", inside(arguments...)...); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes the bridge, the cables and the rules away. It is no error if they are not there.
func (p Plan) Remove() error {
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return fmt.Errorf("failed to list the links: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if name != p.Bridge() && !strings.HasPrefix(name, p.Bridge()+"n") {
			continue
		}
		// A cable goes by itself when its namespace does, at a time of the kernel's choosing.
		if _, err := run("ip", "link", "delete", name); err != nil && linkExists(name) {
			return err
		}
	}
	return p.removeWayOut()
}

func linkExists(name string) bool {
	_, err := os.Stat("/sys/class/net/" + name)
	return err == nil
}

// namespace makes arguments of nsenter that run a command in the network namespace of a process. Not `ip netns exec`:
// that hides the mounts of control groups.
func namespace(pid int) func(command ...string) []string {
	return func(command ...string) []string {
		return append([]string{"--target", strconv.Itoa(pid), "--net", "--"}, command...)
	}
}

// run returns the output of a command; an error has what the command said.
func run(name string, arguments ...string) (string, error) {
	return runWithInput("", name, arguments...)
}

func runWithInput(input, name string, arguments ...string) (string, error) {
	command := exec.Command(name, arguments...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("`%s %s`: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}
