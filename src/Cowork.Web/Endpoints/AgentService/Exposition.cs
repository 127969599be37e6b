using System.Globalization;
using System.Text;

using Cowork.Projections;

namespace Cowork.Web.Endpoints.AgentService;

/// <param name="Labels">In output order.</param>
public sealed record Sample(double Value, params IReadOnlyList<(string Name, string Value)> Labels);

/// <summary>A Prometheus metric family.</summary>
/// <param name="Name">Without <c>_total</c>; ends in the unit, if there is one.</param>
public abstract record MetricFamily(string Name, string Help, string? Unit = null)
{
    /// <summary>A counter. Its samples have the suffix <c>_total</c>.</summary>
    public sealed record Counter(string Name, string Help, string? Unit, params IReadOnlyList<Sample> Samples) : MetricFamily(Name, Help, Unit);

    public sealed record Gauge(string Name, string Help, string? Unit, params IReadOnlyList<Sample> Samples) : MetricFamily(Name, Help, Unit);

    /// <summary>A histogram of durations in seconds.</summary>
    public sealed record Latency(string Name, string Help, LatencyHistogram Of) : MetricFamily(Name, Help, "seconds")
    {
        /// <summary>
        /// Seconds. Each is an upper bound of a bucket of <see cref="LatencyHistogram"/>, so the counts are exact.
        /// </summary>
        public static IReadOnlyList<double> Bounds { get; } =
            [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];
    }
}

/// <summary>Writes metric families in Prometheus' text format 0.0.4, or in OpenMetrics 1.0.</summary>
/// <param name="openMetrics">True: with units, canonical numbers, counter families without their suffix, and an end marker.</param>
sealed class Exposition(bool openMetrics)
{
    readonly StringBuilder text = new();

    public static string Of(IEnumerable<MetricFamily> families, bool openMetrics)
    {
        var exposition = new Exposition(openMetrics);
        foreach (var family in families)
        {
            exposition.Write(family);
        }
        if (openMetrics)
        {
            exposition.text.Append("# EOF\n");
        }
        return exposition.text.ToString();
    }

    void Write(MetricFamily family)
    {
        switch (family)
        {
            case MetricFamily.Counter counter:
                Head(family, openMetrics ? family.Name : $"{family.Name}_total", "counter");
                Samples($"{family.Name}_total", counter.Samples);
                break;
            case MetricFamily.Gauge gauge:
                Head(family, family.Name, "gauge");
                Samples(family.Name, gauge.Samples);
                break;
            case MetricFamily.Latency latency:
                Head(family, family.Name, "histogram");
                foreach (var bound in MetricFamily.Latency.Bounds)
                {
                    Sample($"{family.Name}_bucket", new(latency.Of.CountUpTo(TimeSpan.FromSeconds(bound)), ("le", Number(bound, canonical: openMetrics))));
                }
                Sample($"{family.Name}_bucket", new(latency.Of.Count, ("le", "+Inf")));
                Sample($"{family.Name}_sum", new(latency.Of.SumSeconds));
                Sample($"{family.Name}_count", new(latency.Of.Count));
                break;
        }
    }

    void Head(MetricFamily family, string name, string type)
    {
        var help = family.Help.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
        text.Append($"# HELP {name} {(openMetrics ? help.Replace("\"", "\\\"", StringComparison.Ordinal) : help)}\n# TYPE {name} {type}\n");
        if (openMetrics && family.Unit is not null)
        {
            text.Append($"# UNIT {name} {family.Unit}\n");
        }
    }

    void Samples(string name, IReadOnlyList<Sample> samples)
    {
        foreach (var sample in samples)
        {
            Sample(name, sample);
        }
    }

    void Sample(string name, Sample sample)
    {
        text.Append(name);
        if (sample.Labels.Count > 0)
        {
            text.Append('{').AppendJoin(',', sample.Labels.Select(l => $"{l.Name}=\"{Escaped(l.Value)}\"")).Append('}');
        }
        text.Append(' ').Append(Number(sample.Value, canonical: false)).Append('\n');
    }

    static string Escaped(string value) => value
        .Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);

    static string Number(double value, bool canonical)
    {
        var number = value.ToString("R", CultureInfo.InvariantCulture);
        return canonical && !number.Contains('.', StringComparison.Ordinal) ? number + ".0" : number;
    }
}
