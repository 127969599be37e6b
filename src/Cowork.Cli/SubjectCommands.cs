using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork subjects list|erase</c>: the data subjects of a tenant, for an operator who has the database. <c>erase</c> destroys a key as <c>DELETE /subjects/{id}</c> does, and
/// waits until the copies are gone, too. Where no host lives that removes them, it does so itself.
/// </summary>
static class SubjectCommands
{
    const int Page = 500;

    /// <summary>Characters of who erases.</summary>
    const int WhoMax = 100;

    /// <summary>So long hosts have for the copies before this command removes them, too. Each step may be done twice.</summary>
    static readonly TimeSpan HostDeadline = TimeSpan.FromSeconds(30);

    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>The tenant in which hosts keep what is no tenant's own.</summary>
    static readonly OperatorsTenant Operators = new("default");

    public static async Task<int> Run(string[] options)
    {
        switch (options)
        {
            case ["list", .. var rest]:
                return TenantOptions.Read("subjects list", [], rest) is { } listed ? await Tables.Open(listed.Data, engine => List(engine, listed.Org)) : Usage.Error;
            case ["erase", var name, .. var rest]:
                if (TenantOptions.Read("subjects erase", ["--by"], [.. rest.Where(option => option != "--yes")]) is not { } given)
                {
                    return Usage.Error;
                }
                var who = given.Given.GetValueOrDefault("--by", Environment.UserName);
                if (who.Length > WhoMax || who != VisibleText.Of(who) || !StorableText.IsStorable(who))
                {
                    return Usage.Wrong($"--by is no name: 1 to {WhoMax} characters that can be seen");
                }
                return await Tables.Open(given.Data, engine => Erase(engine, given, name, new($"operator:{who}"), isConfirmed: rest.Contains("--yes")));
            default:
                return Usage.Wrong("subjects has the commands list and erase NAME");
        }
    }

    static async Task<int> List(StorageEngine engine, string org)
    {
        var handler = Handler(engine);
        for (string? after = null; ;)
        {
            var page = await engine.SubjectStore.List(org, after, Page, CancellationToken.None);
            foreach (var listed in page)
            {
                Console.WriteLine(Line(await SubjectStatus.Of(handler, org, listed, CancellationToken.None)));
            }
            if (page.Count < Page)
            {
                return 0;
            }
            after = page[^1].Subject;
        }
    }

    static string Line(SubjectStatus status)
    {
        var erased = status.Erased is { } e ? $", erased {e.ErasedAt:yyyy-MM-ddTHH:mm:ssZ} by {VisibleText.Of(e.By)}" : "";
        return $"{status.State,-10} \"{VisibleText.Of(status.Listed.Subject)}\": {status.Listed.Streams} streams, {status.Blobs} files{erased}";
    }

    static async Task<int> Erase(StorageEngine engine, TenantOptions given, string name, Origin by, bool isConfirmed)
    {
        var (org, shown, handler) = (given.Org, VisibleText.Of(name), Handler(engine));
        if (await Status(engine, handler, org, name) is not { } before)
        {
            return Failed($"the tenant {org} has no data subject \"{shown}\". Nothing was erased.");
        }
        if (before.State == "erased")
        {
            Console.WriteLine(Line(before));
            return 0;
        }
        if (before.Erased is null && !isConfirmed && !Confirms(before, shown, org))
        {
            return Failed("nothing was erased. (--yes erases without asking.)");
        }
        if (Tables.MasterKeys(given.Data) is not { } masters)
        {
            return Failed($"there is no master key in {MasterKeyFile.In(given.Data)}, and {MasterKeySource.Variable} is not set. Nothing was erased.");
        }
        try
        {
            var secrets = new TenantSecrets(handler, handler, masters, Operators, TimeProvider.System);
            var subjects = new Subjects(handler, handler, secrets, engine.Subjects, Operators, Sealing.Marked, TimeProvider.System);
            if (await subjects.Erase(org, by, name, CancellationToken.None) is { } refused)
            {
                return Failed(refused.Detail ?? refused.Code);
            }
            if (before.Erased is null)
            {
                Console.WriteLine($"The key of \"{shown}\" is destroyed: nobody reads the texts any more. Copies are being removed…");
            }
            await RemoveCopies(engine, handler, org, name, given.Data);
        }
        catch (SecretUnreadableException e)
        {
            return Failed(e.Message);
        }
        Console.WriteLine(Line((await Status(engine, handler, org, name))!));
        Console.WriteLine("Backups, bundles and exports that were made before have the texts still (docs/privacy.md).");
        return 0;
    }

    /// <summary>Waits for a host that lives to remove the copies, or does it here.</summary>
    /// <exception cref="InvalidOperationException">An archive of a group lies where this program does not find it.</exception>
    static async Task RemoveCopies(StorageEngine engine, CommandHandler handler, string org, string name, string data)
    {
        var key = DataSubject.KeyOf(name);
        for (var waited = TimeSpan.Zero; waited < HostDeadline && (await engine.Nodes(CancellationToken.None)).Any(node => !node.IsAnswering); waited += LookEvery)
        {
            if (await handler.LatestState(org, DataSubject.Aggregate, key, CancellationToken.None) is DataSubject.Erased { CompletedAt: not null })
            {
                return;
            }
            await Task.Delay(LookEvery, TimeProvider.System);
        }
        var folder = Environment.GetEnvironmentVariable("Cowork__Blobs") is { Length: > 0 } given ? Path.GetFullPath(given) : Path.Combine(data, "blobs");
        var erasure = new SubjectErasure(
            handler, handler, engine.Subjects, engine.Texts, engine.Log, new ArchivesOfFolder(folder), engine.AsyncProjections, ReadModels.AsyncProjections);
        await erasure.Remove(org, key, CancellationToken.None);
    }

    static bool Confirms(SubjectStatus subject, string shown, string org)
    {
        Console.Error.Write(
            $"\"{shown}\" of the tenant {org} has texts in {subject.Listed.Streams} streams and {subject.Blobs} files. Their erasure cannot be undone. "
            + "Type the name to erase them: ");
        return Console.In.ReadLine() == subject.Listed.Subject;
    }

    static async ValueTask<SubjectStatus?> Status(StorageEngine engine, CommandHandler handler, string org, string name) =>
        await engine.SubjectStore.Get(org, name, CancellationToken.None) is { } listed ? await SubjectStatus.Of(handler, org, listed, CancellationToken.None) : null;

    static CommandHandler Handler(StorageEngine engine) =>
        new(engine.Log, engine.Snapshots, new NoBlobs(), ReadModels.All, TimeProvider.System, CronTimes.Next, engine.Subjects);

    static int Failed(string why)
    {
        Console.Error.WriteLine($"cowork: {why}");
        return 1;
    }
}

/// <summary>Archives of groups in the folder of the blob store. Hosts write and read them.</summary>
sealed class ArchivesOfFolder(string folder) : IArchives
{
    /// <exception cref="InvalidOperationException">It is not there: the blob store lies elsewhere, or is a bucket.</exception>
    public ValueTask DeleteArchive(string path, CancellationToken ct)
    {
        var file = Path.GetFullPath(Path.Combine(folder, path));
        // The name is the log's, which others may have written.
        if (!file.StartsWith(Path.Combine(folder, "groups") + Path.DirectorySeparatorChar, StringComparison.Ordinal) || !File.Exists(file))
        {
            throw new InvalidOperationException(
                $"The key is destroyed and the database is clean, but the archive {VisibleText.Of(path)} is not in {folder}. Say where the blobs lie with --data DIR or "
                + "Cowork__Blobs and repeat the command, or start a host: it removes the archive.");
        }
        File.Delete(file);
        return default;
    }

    public ValueTask WriteArchive(string path, Stream bytes, CancellationToken ct) => throw new NotSupportedException();

    public ValueTask<Stream?> OpenArchive(string path, CancellationToken ct) => throw new NotSupportedException();
}
