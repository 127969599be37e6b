using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

namespace Cowork.Application;

/// <summary>A master key: 32 bytes that wrap the data keys of all tenants. Its text is its id, never the key.</summary>
public sealed class MasterKey
{
    /// <summary>Bytes of a key of AES-256.</summary>
    public const int Bytes = 32;

    readonly byte[] key;

    MasterKey(byte[] key)
    {
        this.key = key;
        // A one-way function of the key, so that the log can name it.
        Id = Convert.ToHexStringLower(HMACSHA256.HashData(key, "cowork master key id"u8).AsSpan(0, 8));
    }

    /// <summary>16 hexadecimal characters that follow from the key and do not lead back to it.</summary>
    public string Id { get; }

    internal ReadOnlySpan<byte> Key => key;

    public static MasterKey New() => new(RandomNumberGenerator.GetBytes(Bytes));

    /// <summary>A key from its base64; null: the text is not base64 of 32 bytes.</summary>
    public static MasterKey? Parse(string base64)
    {
        Span<byte> key = stackalloc byte[Bytes];
        var trimmed = base64.Trim();
        if (trimmed.Length > 64 || !Convert.TryFromBase64String(trimmed, key, out var written) || written != Bytes)
        {
            return null;
        }
        var parsed = new MasterKey(key.ToArray());
        CryptographicOperations.ZeroMemory(key);
        return parsed;
    }

    /// <summary>Base64, for the key file.</summary>
    internal string Reveal() => Convert.ToBase64String(key);

    public override string ToString() => Id;
}

/// <summary>The master keys that this program has: the one to use, and earlier ones, which open what they wrapped.</summary>
public sealed class MasterKeyring
{
    readonly Func<ImmutableList<MasterKey>>? load;
    readonly Lock gate = new();
    volatile ImmutableList<MasterKey> keys;

    /// <param name="keys">The one to use first; at least one.</param>
    /// <param name="source">Where they are from, for people: <c>COWORK_MASTER_KEY</c> or the path of a file.</param>
    /// <param name="load">Reads them anew; null: they cannot change while the program runs.</param>
    public MasterKeyring(ImmutableList<MasterKey> keys, string source, Func<ImmutableList<MasterKey>>? load = null)
    {
        if (keys.IsEmpty)
        {
            throw new ArgumentException("A keyring has at least one master key.", nameof(keys));
        }
        (this.keys, Source, this.load) = (keys, source, load);
    }

    public string Source { get; }

    /// <summary>The key that a rotation goes to.</summary>
    public MasterKey Newest => keys[0];

    public IReadOnlyList<MasterKey> Keys => keys;

    /// <summary>The key with this id, looked for in the source again when it is not known; null: this program does not have it.</summary>
    public MasterKey? Find(string id) => keys.Find(key => key.Id == id) ?? FindAnew(id);

    /// <summary>A signature of data that whoever has the newest master key can make and check (HMAC-SHA-256, under a key of its own for each purpose).</summary>
    /// <param name="purpose">What is signed for one purpose is not for another.</param>
    public ReadOnlySpan<byte> Sign(string purpose, ReadOnlySpan<byte> data) => Sign(Newest, purpose, data);

    /// <summary>True: the data was signed for this purpose by a master key of the ring.</summary>
    /// <param name="signature">Its first 16 bytes at least.</param>
    public bool IsSigned(string purpose, ReadOnlySpan<byte> data, ReadOnlySpan<byte> signature)
    {
        foreach (var key in signature.Length is >= 16 and <= HMACSHA256.HashSizeInBytes ? keys : [])
        {
            if (CryptographicOperations.FixedTimeEquals(Sign(key, purpose, data).AsSpan(0, signature.Length), signature))
            {
                return true;
            }
        }
        return false;
    }

    static byte[] Sign(MasterKey key, string purpose, ReadOnlySpan<byte> data) =>
        HMACSHA256.HashData(HMACSHA256.HashData(key.Key, Encoding.UTF8.GetBytes(purpose)), data);

    MasterKey? FindAnew(string id)
    {
        if (load is null)
        {
            return null;
        }
        lock (gate)
        {
            keys = load();
        }
        return keys.Find(key => key.Id == id);
    }
}

/// <summary>
/// The file <c>master-key</c> of a data directory: a key in base64 on each line, the newest first, readable by its owner only. A host makes it at its first start.
/// </summary>
public static class MasterKeyFile
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    const int BytesMax = 64 * 1024;

    public static string In(string dataDirectory) => Path.Combine(dataDirectory, "master-key");

    /// <summary>The keys of the file, which is made with a new key when there is none.</summary>
    /// <exception cref="ArgumentException">The file cannot be used; the message is a sentence that says why, without what is in it.</exception>
    public static MasterKeyring Open(string path)
    {
        if (!File.Exists(path))
        {
            Write(path, [MasterKey.New()]);
        }
        return new(Read(path), path, () => Read(path));
    }

    /// <summary>The keys of the file.</summary>
    /// <exception cref="ArgumentException">As of <see cref="Open"/>.</exception>
    public static ImmutableList<MasterKey> Read(string path)
    {
        try
        {
            if ((File.GetUnixFileMode(path) & ~OwnerOnly) != 0)
            {
                throw new ArgumentException($"The master key {path} is not its owner's alone. Whoever read it can open every secret: rotate it, and chmod 600 the file.");
            }
            if (new FileInfo(path).Length > BytesMax)
            {
                throw new ArgumentException($"{path} is no file of master keys: it has more than {BytesMax} bytes.");
            }
            ImmutableList<MasterKey> keys =
            [
                .. File.ReadAllLines(path).Index().Where(line => !string.IsNullOrWhiteSpace(line.Item)).Select(
                    line => MasterKey.Parse(line.Item) ?? throw new ArgumentException($"{path}: line {line.Index + 1} is not base64 of {MasterKey.Bytes} bytes.")),
            ];
            return keys.IsEmpty ? throw new ArgumentException($"{path} has no master key.") : keys;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ArgumentException($"The master key {path} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Puts the keys into the file, durably: it has the old ones or the new ones, whatever happens.</summary>
    /// <exception cref="ArgumentException">As of <see cref="Open"/>.</exception>
    public static void Write(string path, IEnumerable<MasterKey> keys)
    {
        try
        {
            var writing = path + ".new";
            File.Delete(writing);
            using (var file = new FileStream(writing, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OwnerOnly }))
            {
                file.Write(Encoding.ASCII.GetBytes(string.Concat(keys.Select(key => key.Reveal() + "\n"))));
                file.Flush(flushToDisk: true);
            }
            File.Move(writing, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ArgumentException($"The master key {path} cannot be written: {e.Message}", e);
        }
    }
}

/// <summary>Reads the master keys from <c>COWORK_MASTER_KEY</c> and <c>COWORK_MASTER_KEY_PREVIOUS</c>, or from the file of a data directory.</summary>
public static class MasterKeySource
{
    /// <summary>The variable with the key to use, in base64.</summary>
    public const string Variable = "COWORK_MASTER_KEY";

    /// <summary>The variable with earlier keys, separated by commas.</summary>
    public const string PreviousVariable = "COWORK_MASTER_KEY_PREVIOUS";

    /// <param name="variable">The value of a variable; null: it is not set.</param>
    /// <exception cref="ArgumentException">A value is no key, or the file cannot be used.</exception>
    public static MasterKeyring Read(Func<string, string?> variable, string dataDirectory)
    {
        if (variable(Variable) is not { } given || string.IsNullOrWhiteSpace(given))
        {
            return MasterKeyFile.Open(MasterKeyFile.In(dataDirectory));
        }
        var previous = (variable(PreviousVariable) ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return new([Key(Variable, given), .. previous.Select(key => Key(PreviousVariable, key))], Variable);
    }

    static MasterKey Key(string variable, string value) => MasterKey.Parse(value)
        ?? throw new ArgumentException($"{variable} is not base64 of {MasterKey.Bytes} bytes. Make one with: openssl rand -base64 {MasterKey.Bytes}");
}
