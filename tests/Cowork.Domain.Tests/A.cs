using Cronos;

namespace Cowork.Domain.Tests;

/// <summary>Named test data: fixed values, so that a failure replays.</summary>
static class A
{
    public static readonly DateTimeOffset Morning = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    public static SessionKey Session { get; } = SessionKey.FromId("sess_01kdvkjr000000000000000001");
    public static RunKey Run { get; } = RunKey.FromId("run_01kdvkjr000000000000000002");
    public static RunKey OtherRun { get; } = RunKey.FromId("run_01kdvkjr000000000000000003");
    public static RunKey ThirdRun { get; } = RunKey.FromId("run_01kdvkjr000000000000000004");

    public static ApprovalKey Approval { get; } = ApprovalKey.FromId("appr_01kdvkjr000000000000000005");
    public static ArtifactKey Artifact { get; } = ArtifactKey.FromId("art_01kdvkjr000000000000000006");

    /// <summary>Next times straight from the library: enough for zones with ordinary rules. The host's own are in CronTimesSpecs.</summary>
    public static NextTime NextTime { get; } = static (cron, zone, after) => CronExpression.Parse(cron.Text).GetNextOccurrence(after, zone)?.ToUniversalTime();

    public static ProjectKey Project { get; } = ProjectKey.FromId("proj_01kdvkjr000000000000000007");

    public static DateTimeOffset Later(double seconds) => Morning.AddSeconds(seconds);
}
