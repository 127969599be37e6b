using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Deletes the schedules, conversations, memories, files and scratchpads of a deleted project, some with each commit. Whoever begins it, it may be interrupted anywhere
/// and repeated: nothing begins in a deleted project, so that each commit leaves fewer.
/// </summary>
public sealed class ProjectDeletion(ICommandExecutor commands, IRunQueries queries, FileDeletion files, ScratchpadDeletion scratchpads) : IJobHandler
{
    /// <summary>The job's key is the project's.</summary>
    public const string JobKind = "project_deletion";

    /// <summary>Sessions of one commit.</summary>
    const int SessionsMax = 50;

    /// <summary>Memories, or schedules, of one commit.</summary>
    const int MemoriesMax = 200;

    /// <summary>Live runs that one commit cancels, unless one session has more.</summary>
    const int RunsMax = 200;

    static readonly Origin System = new("system");

    /// <summary>The request that deletes the project has so long to delete its conversations, too, before a job does.</summary>
    public static TimeSpan TakenOverAfter { get; } = TimeSpan.FromSeconds(10);

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        await Sweep(claim.Org, System, new(claim.Key), ct, waitForStorage: true);
        return false;
    }

    /// <summary>Deletes what is left of a deleted project.</summary>
    public async Task Sweep(string org, Origin by, ProjectKey project, CancellationToken ct, bool waitForStorage = false)
    {
        while (await queries.SchedulesOf(org, project, MemoriesMax, ct) is [_, ..] schedules)
        {
            await Execute(new DeleteSchedules(schedules));
        }
        while (await queries.SessionsOf(org, project, SessionsMax, ct) is [_, ..] left)
        {
            var runs = 0;
            var some = left.TakeWhile((session, i) => (runs += session.LiveRuns) <= RunsMax || i == 0).Select(session => session.Session).ToList();
            await Execute(new DeleteSessions(some));
            foreach (var session in some)
            {
                await files.Sweep(org, by, session, ct, waitForStorage);
                await scratchpads.Sweep(org, by, session, ct, waitForStorage);
            }
        }
        while (await queries.MemoriesOf(org, project, MemoriesMax, ct) is [_, ..] memories)
        {
            await Execute(new DeleteMemories(memories));
        }
        await files.Sweep(org, by, project, ct, waitForStorage);

        async Task Execute(ICommand command)
        {
            var result = await commands.Execute(org, by, command, ct, waitForStorage);
            if (result.Refused is { Code: not "stream_busy" } refused)
            {
                throw new InvalidOperationException($"What the project {project} holds cannot be deleted: {refused.Code}.");
            }
        }
    }
}
