namespace Cowork.Connectors;

/// <summary>A web service as a connection knows it.</summary>
/// <param name="Headers">Go with each request to it, and to nowhere else.</param>
sealed record WebTarget(BaseUrl Base, IReadOnlyList<KeyValuePair<string, string>> Headers)
{
    public override string ToString() => Base.Host;
}
