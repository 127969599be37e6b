using Cowork.Application;
using Cowork.Marten;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork keys rotate</c> puts the data keys of all tenants under a new master key, and with <c>--data-keys</c> all credentials under new data keys, while hosts run.
/// An interrupted one is repeated.
/// </summary>
static class Keys
{
    /// <summary>The tenant in which hosts keep what is no tenant's own.</summary>
    static readonly OperatorsTenant Operators = new("default");

    public static async Task<int> Run(string[] options)
    {
        if (options is not ["rotate", .. var rest])
        {
            return Usage.Wrong("keys has one command: keys rotate");
        }
        if (CommandOptions.Read("keys rotate", "--data-keys", rest) is not { } given)
        {
            return Usage.Error;
        }
        return await Tables.Open(given.Data, engine => Rotate(engine, given.Data, withDataKeys: given.HasFlag));
    }

    static async Task<int> Rotate(StorageEngine engine, string data, bool withDataKeys)
    {
        var isGiven = Environment.GetEnvironmentVariable(MasterKeySource.Variable) is { } variable && !string.IsNullOrWhiteSpace(variable);
        var file = MasterKeyFile.In(data);
        if (!isGiven && !File.Exists(file))
        {
            Console.Error.WriteLine($"cowork: there is no master key in {file}, and {MasterKeySource.Variable} is not set.");
            return 1;
        }
        if (!isGiven && FolderOwner.WhyNotOurs(data) is { } why)
        {
            Console.Error.WriteLine($"cowork: {data} {why}. Run this command as the user who started the host.");
            return 1;
        }
        var masters = MasterKeySource.Read(Environment.GetEnvironmentVariable, data);
        var (rotation, current) = await Open(engine, masters);
        if (current is null)
        {
            Console.WriteLine("No secret is kept in this database yet: there is nothing to put under another key.");
            return 0;
        }
        if (!isGiven && masters.Newest.Id == current)
        {
            // First the file: a key that only the log knows would open nothing. Hosts read the file again when they meet the key's id.
            MasterKeyFile.Write(file, [MasterKey.New(), .. masters.Keys]);
            masters = MasterKeySource.Read(Environment.GetEnvironmentVariable, data);
            (rotation, _) = await Open(engine, masters);
        }
        if (masters.Find(current) is null)
        {
            Console.Error.WriteLine(
                $"cowork: the database is under the master key {current}, which is not here. "
                + $"Give it in {MasterKeySource.PreviousVariable}, beside the new one in {MasterKeySource.Variable}.");
            return 1;
        }
        try
        {
            var wrapped = await rotation.Rewrap(masters.Newest, CancellationToken.None);
            Console.WriteLine(
                masters.Newest.Id == current
                    ? $"The database stays under the master key {current}: {masters.Source} has no newer one. {wrapped.Rewrapped} data keys were still under another one."
                    : $"The database is under the master key {masters.Newest.Id} now, no longer under {current}: {wrapped.Rewrapped} data keys of {wrapped.Tenants} tenants.");
            if (wrapped.SigningKeys > 0)
            {
                Console.WriteLine($"{wrapped.SigningKeys} signing keys are under it, too.");
            }
            if (wrapped.Subjects > 0)
            {
                Console.WriteLine($"{wrapped.Subjects} keys of data subjects are under it, too.");
            }
            if (withDataKeys)
            {
                var secrets = await rotation.Reencrypt(CancellationToken.None);
                Console.WriteLine($"{secrets.Reencrypted} connections of {secrets.Tenants} tenants have their credentials under new data keys.");
            }
        }
        catch (SecretUnreadableException e)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 1;
        }
        Console.WriteLine(
            isGiven
                ? $"Hosts need {MasterKeySource.PreviousVariable} no longer. Keep the old key with the backups that were made under it."
                : $"{file} has the new key first. The old one stays below it for backups that were made under it; remove the line when there are none.");
        return 0;
    }

    static async Task<(KeyRotation Rotation, string? Current)> Open(StorageEngine engine, MasterKeyring masters)
    {
        var handler = new CommandHandler(engine.Log, engine.Snapshots, new NoBlobs(), ReadModels.All, TimeProvider.System, CronTimes.Next);
        var secrets = new TenantSecrets(handler, handler, masters, Operators, TimeProvider.System);
        var signing = new SigningKeyring(handler, handler, masters, secrets, Operators, TimeProvider.System);
        var rotation = new KeyRotation(handler, handler, secrets, signing, Operators, (org, max, ct) => Connections.List(engine.Rows, org, max, ct), engine.Subjects);
        return (rotation, await rotation.Current(CancellationToken.None));
    }
}
