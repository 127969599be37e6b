using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web;

/// <summary>
/// The last head that this host has seen, in a file of its data directory: a database that was put back to an earlier state does not know it, and no head is signed on it.
/// </summary>
public sealed partial class HeadFile : IHeadMemory
{
    /// <summary>Name of the file in the data directory.</summary>
    public const string Name = "audit-head.json";

    readonly Lock gate = new();
    readonly ILogger<HeadFile> logger;
    SignedHead? last;

    public HeadFile(DataDirectory data, ILogger<HeadFile> logger)
    {
        (Place, this.logger) = (data.In(Name), logger);
        try
        {
            last = File.Exists(Place) ? JsonSerializer.Deserialize(File.ReadAllBytes(Place), HeadFileJson.Default.SignedHead) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            LogUnread(logger, Place, e.Message);
        }
    }

    public string Place { get; }

    public SignedHead? Last
    {
        get
        {
            lock (gate)
            {
                return last;
            }
        }
    }

    public void Keep(SignedHead head)
    {
        lock (gate)
        {
            if (head == last)
            {
                return;
            }
            last = head;
            try
            {
                // A host that is killed in between finds the one before.
                File.WriteAllBytes(Place + ".next", JsonSerializer.SerializeToUtf8Bytes(head, HeadFileJson.Default.SignedHead));
                File.Move(Place + ".next", Place, overwrite: true);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                LogUnwritten(logger, Place, e.Message);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The last head that this host saw cannot be read from {Place}, and the next one takes its place: {Reason}")]
    static partial void LogUnread(ILogger logger, string place, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The last head that this host saw cannot be written into {Place}: {Reason}")]
    static partial void LogUnwritten(ILogger logger, string place, string reason);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(SignedHead))]
sealed partial class HeadFileJson : JsonSerializerContext;
