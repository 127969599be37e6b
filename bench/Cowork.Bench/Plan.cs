namespace Cowork.Bench;

/// <summary>What is asked for.</summary>
/// <param name="Time">Of each workload, after a warm-up.</param>
/// <param name="Hosts">This build's host, and the one that is to be measured beside it.</param>
sealed record Plan(IReadOnlyList<string> Workloads, TimeSpan Time, IReadOnlyList<HostBuild> Hosts)
{
    static readonly string[] Known =
    [
        "appends", "runs", "feed", "http", "platform", "desktop", "context", "works", "groups", "audit", "million", "bundles", "asof", "replay", "sse", "tokens", "start", "growth",
        "kernels", "console", "peers",
    ];

    public static string Usage { get; } = $"""
        usage: cowork bench [--seconds N] [--beside DLL[,NAME=VALUE…]] [{string.Join(" | ", Known)}]…

          --seconds N   of each workload, after a warm-up; 8 unless given
          --beside DLL  the Cowork.Web.dll of another build, with environment variables that it needs: http, start and growth measure its host in turn with this one's
          context       10 000 files that are kept indexed, beside find and sha256sum
          million       a log of a million events, verified beside COPY; minutes, and 3 GB of disk
          console       pages in Chromium, and a feed that is followed for 100 000 events
          kernels       cells in their sandboxes, and jupyter_client driven directly; python3-ipykernel, python3-jupyter-client, bubblewrap
          peers         Restate and DBOS, with node and npm
        """;

    public bool Has(params string[] workloads) => Workloads.Intersect(workloads).Any();

    /// <summary>Null: it cannot be meant.</summary>
    public static Plan? Read(string[] args)
    {
        var seconds = 8;
        var workloads = new List<string>();
        var hosts = new List<HostBuild> { HostBuild.This };
        for (var i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--seconds" when i + 1 < args.Length && int.TryParse(args[i + 1], out seconds) && seconds > 0:
                    i++;
                    break;
                case "--beside" when i + 1 < args.Length && HostBuild.Beside(args[i + 1]) is { } other:
                    hosts.Add(other);
                    i++;
                    break;
                case var workload when Known.Contains(workload):
                    workloads.Add(workload);
                    break;
                default:
                    return null;
            }
        }
        return new(workloads.Count == 0 ? Known : workloads, TimeSpan.FromSeconds(seconds), hosts);
    }
}
