using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Cowork.Documents;

/// <summary>Tries what a confined process must not be able to do.</summary>
static class ConfinementCheck
{
    /// <param name="paths">Files that the process has no business with.</param>
    /// <returns>A line for each attempt that succeeded: <c>escaped: network</c>.</returns>
    public static IEnumerable<string> Run(int host, IReadOnlyList<string> paths)
    {
        List<(string Name, Action Attempt)> attempts =
        [
            ("network", () => { using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp); }),
            ("listener", () => { using var listener = new TcpListener(IPAddress.Loopback, 0); listener.Start(); }),
            ("unix socket", () => { using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified); }),
            ("process", () => { using var process = Process.Start("/bin/true"); }),
            ("new file", () => File.WriteAllText("/tmp/cowork-documents-check", "x")),
            ("new folder", () => Directory.CreateDirectory("/tmp/cowork-documents-check")),
            ("signal", () => _ = SystemCalls.kill(host, 0) == 0 ? 0 : throw new UnauthorizedAccessException()),
            ("environment of the host", () => File.ReadAllBytes($"/proc/{host}/environ")),
            ("memory of the host", () => { using var memory = File.OpenRead($"/proc/{host}/mem"); }),
            .. paths.Select(path => ($"reading {path}", (Action)(() => File.ReadAllBytes(path)))),
            .. paths.Select(path => ($"writing {path}", (Action)(() => { using var file = File.OpenWrite(path); }))),
        ];
        foreach (var (name, attempt) in attempts)
        {
            var isPossible = true;
            try
            {
                attempt();
            }
#pragma warning disable CA1031 // Any way to fail is what the check wants.
            catch (Exception)
#pragma warning restore CA1031
            {
                isPossible = false;
            }
            if (isPossible)
            {
                yield return $"escaped: {name}";
            }
        }
    }
}
