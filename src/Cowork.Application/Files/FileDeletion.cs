using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Deletes the files of a deleted conversation or project, some with each commit, and removes from the index the text of a file that was deleted. It may be interrupted
/// anywhere and repeated: no file begins in what is deleted, so that each commit leaves fewer.
/// </summary>
public sealed class FileDeletion(ICommandExecutor commands, IFileQueries queries, ITexts texts) : IJobHandler
{
    /// <summary>The job's key names what was deleted: <see cref="KeyOf(SessionKey)"/>, <see cref="KeyOf(FileKey)"/>.</summary>
    public const string JobKind = "file_deletion";

    const string OfSession = "session:";
    const string OfFile = "file:";

    /// <summary>Files of one commit.</summary>
    const int FilesMax = 100;

    static readonly Origin System = new("system");

    public static string KeyOf(SessionKey session) => OfSession + session.Value;

    public static string KeyOf(FileKey file) => OfFile + file.Value;

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        if (claim.Key.StartsWith(OfSession, StringComparison.Ordinal))
        {
            await Sweep(claim.Org, System, new SessionKey(claim.Key[OfSession.Length..]), ct, waitForStorage: true);
        }
        else
        {
            await texts.Remove(claim.Org, TextKey.OfFile(new FileKey(claim.Key[OfFile.Length..])), null, ct);
        }
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
            // First the texts: what is cut short here is found again by the files that are left.
            foreach (var file in left)
            {
                await texts.Remove(org, TextKey.OfFile(file), null, ct);
            }
            var result = await commands.Execute(org, by, new DeleteUploadedFiles(left), ct, waitForStorage);
            if (result.Refused is { Code: not "stream_busy" } refused)
            {
                throw new InvalidOperationException($"Files of what was deleted cannot be deleted: {refused.Code}.");
            }
        }
    }
}
