using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Works;

/// <summary>Contract E, works (contracts/E-works.md).</summary>
static class WorksDialect
{
    public const string BasePath = "/myworks";

    /// <summary>Of the contract: in every envelope, and in the header <see cref="VersionHeader"/> of every answer.</summary>
    public const string Version = "1.0";

    public const string VersionHeader = "Contract-Version";

    /// <summary>True: the bytes of a request begin with an address of this contract.</summary>
    public static bool Owns(ReadOnlySpan<byte> request)
    {
        var address = request[(request.IndexOf((byte)' ') + 1)..];
        return address.StartsWith("/myworks"u8) && address.Length > BasePath.Length && address[BasePath.Length] is (byte)'/' or (byte)'?' or (byte)' ';
    }

    public static Dialect Dialect { get; } = new(BasePath, WorksJson.Answers, WorkError.Form, routes => routes.MapWorks()) { Headers = [(VersionHeader, Version)] };
}

/// <summary>Bodies and answers: snake_case, times in milliseconds with <c>Z</c>. A payload may be nested deeper than the JSON of other contracts.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, MaxDepth = Domain.Limits.PayloadDepthMax + 24, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(NewWork))]
[JsonSerializable(typeof(WorkChanges))]
[JsonSerializable(typeof(WorkCopy))]
[JsonSerializable(typeof(WorkAnswer))]
[JsonSerializable(typeof(WorkListAnswer))]
[JsonSerializable(typeof(WorkDeletedAnswer))]
[JsonSerializable(typeof(WorkError))]
public sealed partial class WorksJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static WorksJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
