namespace Cowork.Bench;

/// <summary>What is asked for.</summary>
/// <param name="Time">Of each workload, after a warm-up.</param>
sealed record Plan(IReadOnlyList<string> Workloads, TimeSpan Time)
{
    static readonly string[] Known = ["appends", "runs", "feed", "http", "sse", "start"];

    public static string Usage { get; } =
        $"usage: cowork bench [--seconds N] [{string.Join(" | ", Known)}]…";

    public bool Has(params string[] workloads) => Workloads.Intersect(workloads).Any();

    /// <summary>Null: it cannot be meant.</summary>
    public static Plan? Read(string[] args)
    {
        var seconds = 8;
        var workloads = new List<string>();
        for (var i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--seconds" when i + 1 < args.Length && int.TryParse(args[i + 1], out seconds) && seconds > 0:
                    i++;
                    break;
                case var workload when Known.Contains(workload):
                    workloads.Add(workload);
                    break;
                default:
                    return null;
            }
        }
        return new(workloads.Count == 0 ? Known : workloads, TimeSpan.FromSeconds(seconds));
    }
}
