using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Deletes the files of a deleted conversation or project, some with each commit. It may be interrupted anywhere and repeated: no file begins in what is deleted, so that
/// each commit leaves fewer.
/// </summary>
public sealed class FileDeletion(ICommandExecutor commands, IFileQueries queries) : IJobHandler
{
    /// <summary>The job's key is <see cref="KeyOf"/>.</summary>
    public const string JobKind = "file_deletion";

    const string OfSession = "session:";

    /// <summary>Files of one commit.</summary>
    const int FilesMax = 100;

    static readonly Origin System = new("system");

    public static string KeyOf(SessionKey session) => OfSession + session.Value;

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        await Sweep(claim.Org, System, new SessionKey(claim.Key[OfSession.Length..]), ct, waitForStorage: true);
        return false;
    }

    /// <summary>Deletes the files of a deleted conversation.</summary>
    public Task Sweep(string org, Origin by, SessionKey session, CancellationToken ct, bool waitForStorage = false) =>
        Sweep(org, by, () => queries.Of(org, session, FilesMax, ct), waitForStorage, ct);

    /// <summary>Deletes the files of a deleted project.</summary>
    public Task Sweep(string org, Origin by, ProjectKey project, CancellationToken ct, bool waitForStorage = false) =>
        Sweep(org, by, () => queries.Of(org, project, FilesMax, ct), waitForStorage, ct);

    async Task Sweep(string org, Origin by, Func<ValueTask<IReadOnlyList<FileKey>>> find, bool waitForStorage, CancellationToken ct)
    {
        while (await find() is [_, ..] left)
        {
            var result = await commands.Execute(org, by, new DeleteUploadedFiles(left), ct, waitForStorage);
            if (result.Refused is { Code: not "stream_busy" } refused)
            {
                throw new InvalidOperationException($"Files of what was deleted cannot be deleted: {refused.Code}.");
            }
        }
    }
}
