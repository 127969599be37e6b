using System.IO.Pipelines;
using System.Security.Cryptography;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Closes a group: from this commit on nobody says anything in it, and a job cancels what runs in it and writes the archive. The commit is as small as that of a message, so
/// that it gets in however much is said at the same time. A second one changes nothing. Refused: the caller is no administrator of the group or the tenant
/// (<c>group_admin_required</c>), or does not see it.
/// </summary>
/// <param name="Reason">Null: none was given.</param>
/// <param name="By">The user; null: the host does it, because the group was idle.</param>
/// <param name="ByAdmin">True: the user administers the tenant, and need not be a member.</param>
public sealed record ArchiveGroup(GroupKey Group, Content? Reason, string? By, bool ByAdmin, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Close(work, isIdle: false);
        return Header is null ? refused : await Header.Claim(work, Domain.Group.Aggregate, Group) ?? refused;
    }

    /// <param name="isIdle">The job that looks for idle groups does it, and ends with the commit.</param>
    internal async ValueTask<Refusal?> Close(UnitOfWork work, bool isIdle)
    {
        var before = await work.State(Domain.Group.Aggregate, Group) as Group.Live;
        if (await work.Do(Domain.Group.Aggregate, Group, new GroupCommand.RequestArchive(Reason, By, ByAdmin, work.Now), Group.Session) is { } refused)
        {
            return refused;
        }
        if (before!.Archive is not null)
        {
            return null;
        }
        if (!isIdle)
        {
            work.Cancel(IdleGroups.JobKind, Group.Value);
        }
        work.Start(new Job(GroupArchiving.JobKind, Group.Value));
        return await work.Do(ActiveGroups.Aggregate, ActiveGroups.StreamKey(before.Org), new ActiveGroupsCommand.Close(Group, work.Now));
    }
}

/// <summary>Writes the archive of a group that was closed and whose runs have ended: a function of the log alone.</summary>
public delegate Task WriteGroupArchive(string org, GroupKey group, Stream to, CancellationToken ct);

/// <summary>
/// Archives a group that was closed: cancels its runs and waits until they have ended, writes the file, and records it with the commit that ends the job. Every attempt, on
/// any host, writes the same bytes under the same name, so that it may be cut off anywhere and one that comes too late does no harm.
/// </summary>
public sealed class GroupArchiving(
    CommandHandler commands, IArchives archives, WriteGroupArchive write, IJobQueue queue) : IJobHandler
{
    /// <summary>The job's key is the group's.</summary>
    public const string JobKind = "group_archive";

    /// <summary>Runs of one commit; more than a group has agents, of which each may have one that only its driver ends.</summary>
    const int RunsMax = 100;

    /// <summary>A driver stops its step within a second.</summary>
    static readonly TimeSpan LookAgainAfter = TimeSpan.FromMilliseconds(200);

    static readonly Origin System = new("system");

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var key = new GroupKey(claim.Key);
        if (await commands.LatestState(claim.Org, Group.Aggregate, key, ct) is not Group.Live { Archive: { ArchivedAt: null } request })
        {
            return false;
        }
        for (var live = await LiveRuns(); live > 0;)
        {
            await commands.Commit(claim.Org, System, work => CancelRuns(work, key), ct, waitForStorage: true);
            var left = await LiveRuns();
            if (left == live)
            {
                // Their drivers, on whatever host, were asked to stop.
                await queue.Release(claim, LookAgainAfter, ct);
                return true;
            }
            live = left;
        }
        // A file that was begun before the texts of its subject were erased has them: it is written once more. The commit that records it is pinned to the subject's stream.
        for (var isStale = true; isStale;)
        {
            var wasErased = await IsErased();
            var (sha256, bytes) = await Write(claim.Org, key, request.Path, ct);
            await commands.Commit(
                claim.Org, System,
                async work =>
                {
                    isStale = !wasErased && (await work.State(Group.Aggregate, key) as IOfSubject)?.Subject is { } subject
                        && await work.PinnedState(DataSubject.Aggregate, DataSubject.KeyOf(subject)) is DataSubject.Erased;
                    if (isStale)
                    {
                        return null;
                    }
                    work.Finish(claim);
                    return await work.Do(Group.Aggregate, key, new GroupCommand.RecordArchive(sha256, bytes, work.Now), key.Session);
                },
                ct, waitForStorage: true);
        }
        return true;

        async ValueTask<bool> IsErased()
        {
            if ((await commands.LatestState(claim.Org, Group.Aggregate, key, ct) as IOfSubject)?.Subject is not { } subject
                || await commands.LatestState(claim.Org, DataSubject.Aggregate, DataSubject.KeyOf(subject), ct) is not DataSubject.Erased)
            {
                return false;
            }
            if (commands.Subjects is { } keys)
            {
                await keys.Refresh(claim.Org, ct);
            }
            return true;
        }

        async ValueTask<int> LiveRuns() => (await commands.LatestState(claim.Org, Session.Aggregate, key.Session, ct)).LiveRuns().Count();
    }

    /// <summary>Cancels some of what runs in a group, the last in each queue first, so that none starts because another ends.</summary>
    static async ValueTask<Refusal?> CancelRuns(UnitOfWork work, GroupKey group)
    {
        foreach (var run in (await work.State(Session.Aggregate, group.Session)).LiveRuns().Reverse().Take(RunsMax))
        {
            if (await Turns.Cancel(work, run) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }

    /// <summary>Writes the file while it is made, so that it need not fit into memory.</summary>
    async Task<(string Sha256, long Bytes)> Write(string org, GroupKey group, string path, CancellationToken ct)
    {
        var pipe = new Pipe();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var counted = new HashedStream(pipe.Writer.AsStream(leaveOpen: true), hash);
        var making = Make();
        try
        {
            await using var made = pipe.Reader.AsStream();
            await archives.WriteArchive(path, made, ct);
        }
        finally
        {
            await stop.CancelAsync();
            await making.ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
        await making;
        return (Convert.ToHexStringLower(hash.GetHashAndReset()), counted.Written);

        async Task Make()
        {
            try
            {
                await write(org, group, counted, stop.Token);
                await pipe.Writer.CompleteAsync();
            }
            catch (Exception e)
            {
                // Who reads hears of it, and writes no file that is not whole.
                await pipe.Writer.CompleteAsync(e);
                throw;
            }
        }
    }

    /// <summary>Passes on what is written, and takes its digest.</summary>
    sealed class HashedStream(Stream to, IncrementalHash hash) : Stream
    {
        public long Written { get; private set; }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            hash.AppendData(buffer.Span);
            Written += buffer.Length;
            await to.WriteAsync(buffer, cancellationToken);
        }

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override Task FlushAsync(CancellationToken cancellationToken) => to.FlushAsync(cancellationToken);

        public override void Flush() => throw new NotSupportedException();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
